"""The names of the ways to keep activations for the backward pass; see `network.remat`."""

from typing import Any

NONE, PRODUCTS, LAYERS = "none", "products", "layers"
# By rising cost: all is kept, what products give, inputs of layers alone.
WAYS = (NONE, PRODUCTS, LAYERS)
# What the setting took when it was true or false, as a value or on a command line.
_TRUTH_VALUES = {False: NONE, True: LAYERS, "False": NONE, "True": LAYERS}
_TRUTH_VALUES |= {"false": NONE, "true": LAYERS}


def way(value: Any) -> Any:
    """The name of a way, of a truth value as well; other values as they are, to be refused."""
    known = isinstance(value, bool | str) and value in _TRUTH_VALUES
    return _TRUTH_VALUES[value] if known else value

"""When a step runs: the conditions of a job file, in the part of CEL that TFX and KFP write.

inputs.artifacts['blessing'].artifacts[0].metadata['blessed'] == 1.0 && !(...)
inputs.parameter_values['stage'] == 'finetune'
"""

import re
from collections.abc import Mapping
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'[^']*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign>&&|\|\||==|!=|<=|>=|[!<>()\[\].+]))"
)
_COMPARISONS = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def is_met(condition: str, inputs: Mapping[str, Any]) -> bool:
    """Whether a condition holds.

    Args:
      condition: as `triggerPolicy.condition`.
      inputs: the task's, as the executor input's JSON has them: `artifacts`, `parameters` and so
        on.

    Raises:
      ValueError: it is none that is known here.
      KeyError, IndexError: it names what the inputs do not have.
    """
    reader = _Reader(condition, {"inputs": inputs, "true": True, "false": False})
    value = reader.either()
    if reader.token is not None or not isinstance(value, bool):
        raise ValueError(f"not a condition: {condition}")
    return value


class _Reader:
    def __init__(self, text: str, names: Mapping[str, Any]) -> None:
        self._text, self._names, self._place = text, names, 0
        self.token: str | None = None
        self._next()

    def _next(self) -> str | None:
        before, rest = self.token, self._text[self._place :]
        if not rest.strip():
            self.token = None
            return before
        found = _TOKEN.match(rest)
        if not found:
            raise ValueError(f"not understood: {rest!r} of {self._text!r}")
        self._place += found.end()
        self.token = found[0].strip()
        return before

    def _take(self, sign: str) -> None:
        if self._next() != sign:
            raise ValueError(f"{sign!r} is missing in {self._text!r}")

    def either(self) -> Any:
        value = self._both()
        while self.token == "||":
            self._next()
            value = self._both() or value
        return value

    def _both(self) -> Any:
        value = self._compared()
        while self.token == "&&":
            self._next()
            value = self._compared() and value
        return value

    def _compared(self) -> Any:
        value = self._joined()
        if self.token in _COMPARISONS:
            compare = _COMPARISONS[self._next()]
            value = compare(value, self._joined())
        return value

    def _joined(self) -> Any:
        value = self._single()
        while self.token == "+":
            self._next()
            value = value + self._single()
        return value

    def _single(self) -> Any:
        token = self._next()
        if token == "!":
            return not self._single()
        if token == "(":
            value = self.either()
            self._take(")")
        elif token is not None and token[0] == "'":
            value = token[1:-1]
        elif token is not None and (token[0] == "-" or token[0].isdigit()):
            value = float(token)
        elif token in self._names:
            value = self._names[token]
        else:
            raise ValueError(f"{token!r} is not known in {self._text!r}")
        while self.token in (".", "["):
            if self._next() == ".":
                value = value[self._next()]
            else:
                key = self.either()
                self._take("]")
                value = value[int(key) if isinstance(key, float) else key]
        return value

"""One training stage, from examples to a model folder."""

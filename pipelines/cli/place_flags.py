"""Flags whose values are places; see `pix2seq_model.places`."""

from collections.abc import Callable, Iterable
from typing import Any

from absl import flags

from pix2seq_model.errors import ConfigError
from pix2seq_model.places import read_place, read_places
from pix2seq_model.store_access import check_reachable

# The flags belong to the module that asks for them.
flags.disclaim_key_flags()


class _Places(flags.ArgumentParser):
    """One place, or several between commas."""

    def __init__(self, name: str, read: Callable[[str, str], Any], *, asked: bool = True) -> None:
        self.syntactic_help = "a path, or gs://bucket/..."
        self._name, self._read, self.asked = f"--{name}", read, asked

    def parse(self, argument: Any) -> Any:
        if not isinstance(argument, str):  # A default.
            return argument
        try:
            return self._read(argument, self._name)
        except ConfigError as error:  # absl puts flag and value in front itself.
            message = str(error).removeprefix(f"{self._name}={argument}").lstrip(": ")
            raise ValueError(message) from None


def define_place(
    name: str, default: str | None, meaning: str, *, required: bool = False, asked: bool = True
) -> None:
    """A flag that takes a place.

    Args:
      name, default, meaning, required: as of any flag.
      asked: the command reads or writes there whenever it is given; see `check_buckets`.
    """
    parser, serializer = _Places(name, read_place, asked=asked), flags.ArgumentSerializer()
    flags.DEFINE(parser, name, default, meaning, serializer=serializer, required=required)


def define_places(
    name: str, default: list[str] | None, meaning: str, *, required: bool = False
) -> None:
    """A flag that takes places between commas, each with a split in front of it or not."""
    parser, serializer = _Places(name, read_places), flags.CsvListSerializer(",")
    flags.DEFINE(parser, name, default, meaning, serializer=serializer, required=required)


def check_buckets(names: Iterable[str]) -> None:
    """Refuses places in buckets, among the values of some flags, where there is no network.

    Raises:
      UnavailableError: see `check_reachable`.
    """
    for name in names:
        flag = flags.FLAGS[name]
        if isinstance(flag.parser, _Places) and flag.parser.asked:
            for place in [flag.value] if isinstance(flag.value, str) else flag.value or []:
                _, scheme, rest = place.partition("gs://")  # Of train=gs://bucket/x the place.
                check_reachable(scheme + rest, f"--{name}")

"""Settings that check themselves: types, limits, messages."""

import dataclasses

import pytest

from pix2seq_model.errors import ConfigError
from pix2seq_model.setting_checks import build_settings, check_settings, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Settings:
    count: int = setting(1, at_least=1, below=5)
    rate: float = setting(0.5, above=0, at_most=1)
    flag: bool = False
    kind: str = setting("a", one_of=("a", "b"))
    size: tuple[int, int] = setting((1, 2), at_least=1)
    names: tuple[str, ...] = ()
    pairs: tuple[tuple[bool, bool], ...] = ()

    def __post_init__(self):
        check_settings(self, "part")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("count", 0, "part.count=0 must be at least 1 and below 5."),
        ("count", 5, "part.count=5 must be at least 1 and below 5."),
        ("count", True, "part.count=True must be a whole number."),
        ("count", 1.0, "part.count=1.0 must be a whole number."),
        ("rate", 0, "part.rate=0 must be above 0 and at most 1."),
        ("rate", 1.5, "part.rate=1.5 must be above 0 and at most 1."),
        ("rate", float("nan"), "part.rate=nan must be a finite number."),
        ("rate", "1", "part.rate='1' must be a finite number."),
        ("flag", 1, "part.flag=1 must be true or false."),
        ("kind", "c", "part.kind='c' is none of 'a', 'b'."),
        ("size", (1,), "part.size=(1,) must be a tuple of 2 values."),
        ("size", (1, 0), "part.size=(1, 0) must be at least 1."),
        ("names", "abc", "part.names='abc' must be a tuple of values."),
        ("names", ("a", 1), "part.names=1 must be a text."),
        ("pairs", ((True,),), "part.pairs=(True,) must be a tuple of 2 values."),
    ],
)
def test_messages(field, value, message):
    with pytest.raises(ConfigError) as caught:
        _Settings(**{field: value})
    assert str(caught.value) == message


def test_lists_become_tuples_and_whole_numbers_are_numbers():
    settings = _Settings(size=[3, 4], names=["a"], pairs=[[True, False]], rate=1)
    assert (settings.size, settings.names, settings.pairs) == ((3, 4), ("a",), ((True, False),))


def test_settings_are_made_of_exactly_their_fields():
    fields = dataclasses.asdict(_Settings())
    assert build_settings(_Settings, fields, "part") == _Settings()
    with pytest.raises(ConfigError, match=r"^part.counts is no setting; did you mean part.count\?"):
        build_settings(_Settings, {**fields, "counts": 1}, "part")
    del fields["rate"]
    with pytest.raises(ConfigError, match=r"^part.rate is missing"):
        build_settings(_Settings, fields, "part")
    with pytest.raises(ConfigError, match=r"^whole.part.count=0"):
        build_settings(_Settings, {**fields, "rate": 1.0, "count": 0}, "part", prefix="whole.")

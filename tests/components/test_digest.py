"""Names of folders that were written by an earlier version stay what they are."""

from components.digest import digest_of


def test_it_stays_what_it_was():
    assert digest_of("a", "b") == digest_of("a\nb") == "7e18f737311b2dc3"
    assert digest_of() == "e3b0c44298fc1c14"

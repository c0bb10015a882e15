"""The table of response codes."""

from iso.response_codes import MEANINGS, Meaning, meaning

LISTED = (
    "00 03 05 10 12 13 14 24 25 26 27 28 29 30 31 33 36 38 39 40 41 43 51 52 53 54 55 57 58 61 62 63 65 68 75 76 77 78 81 86 87 "
    "88 89 90 91 92 94 95 96"
)


def test_every_code_that_networks_use_is_there() -> None:
    """No more and no fewer than the list."""
    assert sorted(MEANINGS) == LISTED.split()


def test_meaning_in_both_languages() -> None:
    """A code is told in English and in Indonesian."""
    assert meaning("51") == Meaning("insufficient funds", "saldo tidak cukup")


def test_an_unknown_code_says_so() -> None:
    """A private code of a partner does not break a screen."""
    assert meaning("Z9") == Meaning("unknown response code", "kode respons tidak dikenal")

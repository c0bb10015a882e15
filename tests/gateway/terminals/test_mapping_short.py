"""Tests of gateway.terminals.mapping: the short way of frequent messages, and the digest of what a message says."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from gateway.terminals import mapping
from gateway.terminals.links_file import read_links
from iso.errors import FormatError
from iso.message import Message
from keys.keytypes import KeyUsage
from keys.sensitive import Pan
from keys.software import SoftwareHsm

LINK = read_links(None).first
PIN_KEY = SoftwareHsm.in_memory().generate(KeyUsage.PIN_ENCRYPTION, "zpk-himbara")
CASH = {2: "6013010000000018", 3: "010000", 4: "000010000000", 7: "1123120000", 11: "000007", 18: "6011", 32: "000002",
        37: "632712000007", 41: "A0000001", 42: "SIMA00000000001", 49: "360", 52: "0123456789ABCDEF"}  # fmt: skip


@given(
    st.sampled_from(("0200", "0201", "0100", "0220", "0400")),
    st.dictionaries(
        st.sampled_from((2, 3, 4, 7, 11, 18, 32, 37, 41, 42, 49, 52, 90)),
        st.sampled_from(("", "000000", "310000", "380000", "900000", "5411", "9999", "0", "0" * 12, "000000000050", "2", "x y")),
        max_size=3,
    ),
)  # fmt: skip
def test_the_short_way_says_what_the_long_one_says(mti: str, changes: dict[int, str]) -> None:
    """Whatever is missing, wrong or another thing: the same command, or the same refusal."""
    message = Message(mti, {number: value for number, value in (CASH | changes).items() if value})
    said = []
    for plain in (True, False):
        link = LINK.model_copy()
        link.__dict__["plain"] = plain
        for _ in range(2):  # the first time nothing is known of such messages
            try:
                found: object = mapping.to_command(message, link, PIN_KEY)._replace(pan=Pan(CASH[2]))
            except (FormatError, mapping.Declined) as error:
                found = type(error), str(error)
            said.append(found)
    assert [said[0]] * 4 == said


def test_the_short_way_is_gone() -> None:
    """Cash at the shipped link, from the second message on; never at a link that wants more."""
    link, message = LINK.model_copy(), Message("0200", CASH)
    assert mapping.frequent_command(message, link, PIN_KEY, None) is None
    taken = mapping.to_command(message, link, PIN_KEY)
    found = mapping.frequent_command(message, link, PIN_KEY, None)
    assert found is not None
    assert (taken.request, taken.origin, taken.pan.reveal()) == (found.request, found.origin, found.pan.reveal())
    assert (True, False) == (LINK.plain, LINK.model_copy(update={"chip": "optional"}).plain)


@given(place=st.text(st.characters(codec="ascii"), min_size=1, max_size=15), declined=st.booleans())
def test_the_digest_is_what_stored_answers_have(place: str, declined: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
    """Written once, it is compared with for as long as answers are kept: no version of this software changes it."""
    marks = ("advice", "declined") if declined else ("advice",)
    values = [CASH[3], CASH[4], CASH[37], CASH[41], place, CASH[49], None, None]
    stored = hashlib.sha256(repr(("1", values, *marks)).encode()).digest()[:16]
    found = mapping.to_command(
        Message("0120", CASH | {42: place, 39: "51" if declined else "00"}), LINK, PIN_KEY
    ).request.content_digest
    assert stored == found

"""Every back end: what travels with a key in its block (attributes, check values), and blocks of one KBPK under another."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import psec
import pytest

from keys import kcv, mac, tdes, tr31
from keys.errors import KeyBlockError, KeyRefused
from keys.keytypes import Algorithm, Exportability, KeyAttributes, KeySpec, KeyUsage
from keys.permissions import Operation
from keys.tr31_header import Header
from tests.keys.at_work import Kind, formed, key_of, new_label, spec_of
from tests.keys.backends import BACKENDS
from tests.keys.samples import SECOND_KEY
from tests.keys.test_conformance_blocks import TRAVEL, VERSIONS, kbpk, opened, psec_warns

if TYPE_CHECKING:
    from pathlib import Path

    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle
    from keys.toolbox import Refusal

TABLES = ("0123456789012345", "9876543210987654")
_PADDED = [
    KeyAttributes(padding=padding, mac_length=length) for padding, length in itertools.product((1, 2, 3), (4, 8))
]
VARIED = {
    KeyUsage.PIN_VERIFICATION_IBM: [KeyAttributes(t, check_length=n) for t, n in itertools.product(TABLES, (4, 6, 12))],
    KeyUsage.PIN_VERIFICATION_PVV: [KeyAttributes(pvki=pvki) for pvki in range(7)],
    KeyUsage.MAC_CBC: _PADDED,
    KeyUsage.MAC_RETAIL: _PADDED,
    KeyUsage.MAC_CMAC: [KeyAttributes(mac_length=length) for length in (4, 7, 8)],
    KeyUsage.MAC_HMAC: [
        KeyAttributes(mac_length=length, digest=digest)
        for digest, length in itertools.product(("SHA-256", "SHA-512"), (16, 31, 32))
    ]
    + [KeyAttributes(mac_length=64, digest="SHA-512")],
}
"""Attributes a key may have, of each usage that has them to choose."""


def attributes_of(kind: Kind) -> list[KeyAttributes]:
    """All that are tried of a kind of key."""
    if kind.usage is KeyUsage.KEY_BLOCK_PROTECTION and kind.algorithm is Algorithm.TDES:
        return [KeyAttributes(), KeyAttributes(legacy_versions="AC")]
    return VARIED.get(kind.usage) or [spec_of(kind).attributes or KeyAttributes()]


@psec_warns
@pytest.mark.parametrize("kind", [kind for kind in TRAVEL if kind.bits not in (192, 264)], ids=str)
def test_attributes_travel_with_their_key(hsm: Hsm, kind: Kind) -> None:
    """Of every usage: out and in again, the key is what it was; another maker's reader opens the block as well.

    But what a bank permits a KBPK to open (`legacy_versions`) is its own to say, and no sender's.
    """
    zone, secret = kbpk(hsm, "D"), key_of(VERSIONS["D"])
    for attributes in attributes_of(kind):
        handle = formed(hsm, replace(spec_of(kind, exportable=True), attributes=attributes), key_of(kind))
        block = hsm.export_block(handle, zone)
        again = hsm.import_block(new_label(), block, zone)
        assert attributes == hsm.info(handle).attributes
        assert replace(attributes, legacy_versions=None) == hsm.info(again).attributes
        told = KeySpec(kind.usage, attributes=attributes)
        assert attributes == hsm.info(hsm.import_block(new_label(), block, zone, told)).attributes
        assert key_of(kind) == psec.tr31.unwrap(secret, block)[1]


def test_no_request_says_another_attribute_than_the_block(hsm: Hsm) -> None:
    """A decimalisation table, and the hash of an HMAC key: refused, and nothing is kept."""
    zone = kbpk(hsm, "D")
    ibm, hmac = (KeyAttributes(TABLES[1], check_length=4), KeyAttributes(mac_length=64, digest="SHA-512"))
    for usage, its, other in (
        (KeyUsage.PIN_VERIFICATION_IBM, ibm, replace(ibm, decimalisation_table=TABLES[0])),
        (KeyUsage.MAC_HMAC, hmac, KeyAttributes(mac_length=32, digest="SHA-256")),
    ):
        spec = KeySpec(usage, attributes=its, exportability=Exportability.EXPORTABLE)
        block = hsm.export_block(hsm.generate(spec, new_label()), zone)
        before = hsm.keys()
        with pytest.raises(KeyRefused, match="and no other"):
            hsm.import_block(new_label(), block, zone, replace(spec, attributes=other))
        assert before == hsm.keys()


@pytest.mark.parametrize("version", VERSIONS)
def test_check_values_of_a_block_are_compared(hsm: Hsm, version: str) -> None:
    """KC of the key and KP of the KBPK, by both methods: right ones are taken, a wrong one is refused by its name."""
    zone, secret = kbpk(hsm, version), key_of(VERSIONS[version])
    legacy, cmac = (kcv.of_aes_legacy, mac.aes_cmac) if version == "D" else (kcv.of_tdes, mac.tdes_cmac)
    mine = {"00": legacy(secret).value, "01": cmac(secret)(bytes(16 if version == "D" else 8)).hex().upper()[:10]}
    its = {"00": kcv.of_tdes(SECOND_KEY).value, "01": mac.tdes_cmac(SECOND_KEY)(bytes(8)).hex().upper()[:10]}
    for method in ("00", "01"):
        right = (("KC", method + its[method]), ("KP", method + mine[method]))
        for blocks in (right, right[:1], right[1:]):
            block = tr31.wrap(secret, Header(version, "M3", "T", "C", blocks=blocks), SECOND_KEY)
            assert "08D7B4" == str(hsm.kcv(hsm.import_block(new_label(), block, zone)))
        for name, other in (("KC", mine[method]), ("KP", its[method])):
            blocks = ((name, method + other),)
            block = tr31.wrap(secret, Header(version, "M3", "T", "C", blocks=blocks), SECOND_KEY)
            before = hsm.keys()
            with pytest.raises(KeyBlockError, match=f"optional block {name}: is not the check value"):
                hsm.import_block(new_label(), block, zone)
            assert before == hsm.keys()


def test_no_check_value_is_written(hsm: Hsm) -> None:
    """Neither of the key nor of the KBPK."""
    kind = Kind(KeyUsage.MAC_RETAIL, Algorithm.TDES, 128)
    handle = formed(hsm, spec_of(kind, exportable=True), key_of(kind))
    assert () == opened("D", hsm.export_block(handle, kbpk(hsm, "D")))[0].blocks


REWRAPPED = [(one, other) for one in VERSIONS for other in VERSIONS]


def zones(hsm: Hsm, source: str, target: str) -> tuple[KeyHandle, KeyHandle, bytes]:
    """A known KBPK, another that is made of it, and the bytes of that one."""
    kind = VERSIONS[target]
    secret = tdes.odd_parity(key_of(kind)[::-1]) if kind.algorithm is Algorithm.TDES else key_of(kind)[::-1]
    return kbpk(hsm, source), formed(hsm, spec_of(kind), secret), secret


@pytest.mark.parametrize(("source", "target"), REWRAPPED)
def test_a_block_is_passed_on_under_another_key(hsm: Hsm, source: str, target: str) -> None:
    """Same key and header, all optional blocks but KP; nothing is kept; whoever has the other KBPK reads it."""
    one, other, secret = zones(hsm, source, target)
    legacy = kcv.of_aes_legacy if source == "D" else kcv.of_tdes
    told = (("KC", "0008D7B4"), ("10", "kks: padding=2 mac_length=4"), ("99", "anything"))
    header = Header(source, "M3", "T", "G", "12", "S", (*told, ("KP", "00" + legacy(key_of(VERSIONS[source])).value)))
    before = hsm.keys()
    block = hsm.rewrap_block(tr31.wrap(key_of(VERSIONS[source]), header, SECOND_KEY), one, other)
    assert before == hsm.keys()
    assert (replace(header, version=target, blocks=told), SECOND_KEY) == tr31.Opener(secret, target).unwrap(block)
    info = hsm.info(hsm.import_block(new_label(), block, other))
    assert (KeyAttributes(padding=2, mac_length=4), "08D7B4") == (info.attributes, str(info.kcv))


@pytest.mark.parametrize("kind", [kind for kind in TRAVEL if kind.bits not in (192, 264)], ids=str)
def test_keys_of_every_usage_are_passed_on(hsm: Hsm, kind: Kind) -> None:
    """Under a key that is strong enough for them, and never under a weaker one."""
    source, target, secret = zones(hsm, "D", "D")
    handle = formed(hsm, spec_of(kind, exportable=True), key_of(kind))
    block = hsm.export_block(handle, source)
    passed = hsm.rewrap_block(block, source, target)
    assert opened("D", block) == tr31.Opener(secret).unwrap(passed)
    if kind.algorithm is not Algorithm.TDES:
        with pytest.raises(KeyBlockError, match="weaker than the key it protects"):
            hsm.rewrap_block(block, source, kbpk(hsm, "B"))


@pytest.mark.parametrize(
    ("header", "key", "said"),
    [
        (Header("D", "M3", "T", "C", exportability="N"), SECOND_KEY, "may not do LEAVE: it is not exportable"),
        (Header("D", "D0", "A", "B", exportability="E"), bytes(range(32)), "may not do LEAVE"),
        (Header("D", "10", "H", "G", exportability="E"), bytes(range(32)), "may not do LEAVE"),
        (Header("D", "K0", "A", "B", exportability="E"), bytes(range(16)), "not kept here"),
        (Header("D", "M3", "T", "C", "c1", "E"), SECOND_KEY, "component"),
        (Header("D", "M3", "T", "E", exportability="E"), SECOND_KEY, "does not go"),
        (Header("D", "M3", "T", "C", exportability="E"), SECOND_KEY[:8] * 2, "equal parts"),
        (Header("D", "M3", "T", "C", exportability="E"), SECOND_KEY + bytes(range(8)), "takes no"),
        (Header("D", "M6", "A", "C", exportability="E"), bytes([7]) * 16, "one byte again"),
        (Header("D", "M3", "T", "C", exportability="E", blocks=(("10", "kks: x=1"),)), SECOND_KEY, "optional block 10"),
    ],
)
def test_what_is_not_passed_on(hsm: Hsm, header: Header, key: bytes, said: str) -> None:
    """An authentic block whose key may not leave, is weak, or could not be taken in as it is."""
    source, target, _ = zones(hsm, "D", "D")
    with pytest.raises(KeyRefused, match=said):
        hsm.rewrap_block(tr31.wrap(key_of(VERSIONS["D"]), header, key), source, target)


def test_blocks_that_are_not_authentic_are_not_passed_on(hsm: Hsm) -> None:
    """Changed, under another key, with check values of another key."""
    source, target, secret = zones(hsm, "D", "D")
    header = Header("D", "M3", "T", "C", exportability="E")
    block = tr31.wrap(key_of(VERSIONS["D"]), header, SECOND_KEY)
    wrong = tr31.wrap(key_of(VERSIONS["D"]), replace(header, blocks=(("KC", "00000000"),)), SECOND_KEY)
    for bad in (block[:-1] + ("0" if block[-1] != "0" else "1"), tr31.wrap(secret, header, SECOND_KEY), wrong, ""):
        with pytest.raises(KeyBlockError):
            hsm.rewrap_block(bad, source, target)


def test_refusals_of_passing_on_are_told(backend: str, tmp_path: Path) -> None:
    """Once each: what is wrong with the block of the KBPK it came under, a weak KBPK of that one."""
    heard: list[Refusal] = []
    hsm = BACKENDS[backend](tmp_path, on_refusal=heard.append)
    source, target = kbpk(hsm, "D"), kbpk(hsm, "B")
    kept = tr31.wrap(key_of(VERSIONS["D"]), Header("D", "M3", "T", "C", exportability="N"), SECOND_KEY)
    strong = tr31.wrap(key_of(VERSIONS["D"]), Header("D", "M6", "A", "C", exportability="E"), bytes(range(16)))
    for block in ("nothing", kept, strong):
        with pytest.raises((KeyBlockError, KeyRefused)):
            hsm.rewrap_block(block, source, target)
    assert [
        (f"{source.label}#1", Operation.UNWRAP_KEY), (f"{source.label}#1", Operation.UNWRAP_KEY),
        (f"{target.label}#1", Operation.WRAP_KEY),
    ] == [one[:2] for one in heard]  # fmt: skip

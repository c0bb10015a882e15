"""Data commands: what they ask of a key, and in which order. Answers: test_conformance_data.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keys import data_commands, mac
from keys.errors import KeyRefused, VaultError
from keys.hsm import Dukpt
from keys.keytypes import KeyAttributes, KeyMode, KeySpec, KeyUsage
from tests.keys.at_work import TDES_KSN
from tests.keys.samples import SECOND_KEY, components
from tests.keys.watched import watched_hsm

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_nonce_is_new_and_of_the_workshop() -> None:
    """Twelve random bytes for each seal, asked for when it is made; a sealed text begins with them."""
    count = iter(range(100))
    hsm, workshop = watched_hsm(lambda length: bytes([next(count)]) * length)
    key = hsm.generate(KeyUsage.DATA_SEALING, "seal")
    workshop.forget()
    sealed = [hsm.seal(key, b"text", b"") for _ in range(3)]
    assert [bytes([number]) * 12 for number in range(3)] == [one[:12] for one in sealed]
    assert [name for number in range(3) for name in ("random", f"seal {bytes([number]).hex() * 12}")] == [
        name for name, _ in workshop.calls
    ]
    assert ["sealing seal"] == workshop.made


def test_no_nonce_is_spent_on_a_key_that_may_not() -> None:
    """It is refused before anything is asked."""
    hsm, workshop = watched_hsm()
    key = hsm.generate(KeySpec(KeyUsage.DATA_SEALING, mode=KeyMode.DECRYPT), "reads")
    workshop.forget()
    with pytest.raises(KeyRefused):
        hsm.seal(key, b"text", b"")
    assert ([], []) == (workshop.calls, workshop.made)


@pytest.mark.parametrize("length", range(28))
def test_what_is_too_short_is_not_tried(length: int) -> None:
    """Nonce and tag have 28 bytes; the key is looked at before, so that a refusal is one."""
    hsm, workshop = watched_hsm()
    key = hsm.generate(KeyUsage.DATA_SEALING, "seal")
    writes = hsm.generate(KeySpec(KeyUsage.DATA_SEALING, mode=KeyMode.ENCRYPT), "writes")
    workshop.forget()
    with pytest.raises(VaultError):
        hsm.unseal(key, bytes(length), b"")
    with pytest.raises(KeyRefused):
        hsm.unseal(writes, bytes(length), b"")
    assert [] == workshop.calls


def test_every_code_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of links, of records, of terminals; the whole code, cut as the key says, whatever was given."""
    compared: list[int] = []

    def same(one: bytes, other: bytes) -> bool:
        compared.append(len(one))
        return mac.same(one, other)

    hsm, _ = watched_hsm()
    monkeypatch.setattr(data_commands, "same", same)
    link = hsm.generate(KeySpec(KeyUsage.MAC_CMAC, attributes=KeyAttributes(mac_length=5)), "link")
    audit = hsm.generate(KeyUsage.MAC_HMAC, "audit")
    terminal = Dukpt(hsm.form(KeyUsage.BASE_DERIVATION, "bdk", components(SECOND_KEY)), bytes(TDES_KSN))
    for code in (b"", bytes(5), bytes(8), bytes(32), bytes(100)):
        compared.clear()
        assert [False] * 4 == [
            hsm.verify_mac(link, b"data", code),
            hsm.verify_mac(audit, b"data", code),
            hsm.verify_record(audit, b"data", code),
            hsm.verify_mac(terminal, b"data", code),
        ]
        assert [5, 32, 32, 8] == compared


def test_a_code_goes_on_only_where_it_may() -> None:
    """The key to come is looked at before the code that came: else one would learn of its rightness, and nothing be passed on."""
    hsm, workshop = watched_hsm()
    source = hsm.generate(KeyUsage.MAC_CMAC, "source")
    checks = hsm.generate(KeySpec(KeyUsage.MAC_CMAC, mode=KeyMode.VERIFY), "checks")
    code = hsm.mac(source, b"data")
    workshop.forget()
    with pytest.raises(KeyRefused, match="MAKE_MAC"):
        hsm.translate_mac(source, checks, b"data", code)
    assert [] == workshop.calls
    target = hsm.generate(KeyUsage.MAC_HMAC, "target")
    workshop.forget()
    assert hsm.translate_mac(source, target, b"data", bytes(8)) is None
    assert [("mac source", 4)] == workshop.calls


def test_keys_are_made_ready_once_for_each_work() -> None:
    """A later call costs a look-up and the code itself."""
    hsm, workshop = watched_hsm()
    key = hsm.generate(KeyUsage.MAC_CMAC, "link")
    workshop.forget()
    for _ in range(5):
        assert hsm.verify_mac(key, b"data", hsm.mac(key, b"data"))
    assert ["mac link"] * 2 == workshop.made
    assert 10 == len(workshop.calls)


@pytest.mark.parametrize("count", [1, 65_536])
def test_random_bytes_are_the_workshops(count: int) -> None:
    """As many as asked for, and none asked for what is out of bounds."""
    hsm, workshop = watched_hsm(lambda length: b"\x07" * length)
    assert b"\x07" * count == hsm.random_bytes(count)
    workshop.forget()
    calls: list[Callable[[], bytes]] = [lambda: hsm.random_bytes(0), lambda: hsm.random_bytes(65_537)]
    for call in calls:
        with pytest.raises(KeyRefused):
            call()
    assert [] == workshop.calls


def test_indexes_are_halves() -> None:
    """Sixteen bytes of thirty-two."""
    hsm, _ = watched_hsm()
    key = bytes(range(64))
    handle = hsm.form(KeyUsage.BLIND_INDEX, "index", components(key))
    assert mac.hmac_sha256(key)(b"text") == hsm.blind_index(handle, b"text") + mac.hmac_sha256(key)(b"text")[16:]

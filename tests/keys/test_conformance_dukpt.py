"""Every back end: PINs and MACs of DUKPT terminals, triple DES and AES, from the base key and from the initial key."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys import aes, dukpt_aes, dukpt_tdes, mac, pinblock, tdes
from keys.dukpt_aes import KeyType, Use
from keys.errors import KeyRefused, KeysError, KsnRefused, PinRefusal, PinRefused
from keys.hsm import Dukpt, PinToVerify
from keys.keytypes import Algorithm, KeyAttributes, KeyMode, KeySpec, KeyUsage
from keys.ksn import AesKsn, TdesKsn
from keys.pinblock import PinFormat
from keys.sensitive import Pin
from tests.keys.at_work import formed
from tests.keys.backends import BACKENDS, lacks
from tests.keys.samples import OTHER_PAN, PAN, SECOND_KEY, attributes_of, one_line
from tests.keys.test_ksn import aes_ksns, tdes_ksns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle
    from keys.toolbox import Refusal

AES_BDK = bytes.fromhex("FEDCBA9876543210F1F1F1F1F1F1F1F1")
AES_BDKS = [AES_BDK, AES_BDK + AES_BDK[8:], AES_BDK + AES_BDK[::-1]]
TYPES = {16: KeyType.AES_128, 24: KeyType.AES_192, 32: KeyType.AES_256}
TDES_KSN, AES_KSN = TdesKsn.parse("FFFF9876543210E0001B"), AesKsn.parse("12345678901234560000001B")
GOOD, OTHER = Pin("271828"), Pin("314159")


class Terminal(NamedTuple):
    """The working keys of one transaction, as the terminal has them."""

    encipher: Callable[[bytes], bytes]
    decipher: Callable[[bytes], bytes]
    asks: Callable[[bytes], bytes]
    is_answered: Callable[[bytes], bytes]


def tdes_initial(ksn: TdesKsn) -> bytes:
    """The initial key of a triple DES terminal."""
    masked = tdes.encipherer(dukpt_tdes.masked(SECOND_KEY))
    return dukpt_tdes.initial_key(tdes.encipherer(SECOND_KEY), masked, ksn)


def aes_initial(ksn: AesKsn, bdk: bytes = AES_BDK) -> bytes:
    """The initial key of an AES terminal."""
    return dukpt_aes.initial_key(aes.encipherer(bdk), ksn.initial_key_id, 8 * len(bdk))


def tdes_terminal(ksn: TdesKsn) -> Terminal:
    """A triple DES terminal at a transaction."""
    key = dukpt_tdes.transaction_key(tdes_initial(ksn), ksn)
    pin_key = dukpt_tdes.pin_key(key)
    asks, is_answered = mac.retail(dukpt_tdes.mac_request_key(key), 1), mac.retail(dukpt_tdes.mac_response_key(key), 1)
    return Terminal(tdes.encipherer(pin_key), tdes.decipherer(pin_key), asks, is_answered)


def aes_terminal(ksn: AesKsn, bdk: bytes = AES_BDK, kind: KeyType | None = None) -> Terminal:
    """An AES terminal at a transaction; its working keys are of KIND, or AES keys as long as the base key."""
    key = dukpt_aes.transaction_key(aes_initial(ksn, bdk), ksn)
    kind = kind or TYPES[len(bdk)]
    pin_key, asking, answering = (
        dukpt_aes.working_key(key, ksn, use, kind)
        for use in (Use.PIN_ENCRYPTION, Use.MAC_GENERATION, Use.MAC_VERIFICATION)
    )
    if kind in (KeyType.TDES_2, KeyType.TDES_3):
        codes = mac.tdes_cmac(asking), mac.tdes_cmac(answering)
        return Terminal(tdes.encipherer(pin_key), tdes.decipherer(pin_key), *codes)
    return Terminal(aes.encipherer(pin_key), aes.decipherer(pin_key), _eight(asking), _eight(answering))


def _eight(key: bytes) -> Callable[[bytes], bytes]:
    """AES-CMAC, its leftmost 8 bytes."""
    code = mac.aes_cmac(key)
    return lambda data: code(data)[:8]


class Keys(NamedTuple):
    """An HSM with base keys of both ciphers, a zone key and a verification key of each kind."""

    hsm: Hsm
    tdes: KeyHandle
    aes: KeyHandle
    zpk: KeyHandle
    aes_zpk: KeyHandle
    ibm: KeyHandle
    pvv: KeyHandle
    zak: KeyHandle


@pytest.fixture(scope="module")
def keys(hsm: Hsm) -> Keys:
    """In each back end."""
    both = KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH)
    return Keys(
        hsm,
        formed(hsm, KeyUsage.BASE_DERIVATION, SECOND_KEY),
        formed(hsm, KeySpec(KeyUsage.BASE_DERIVATION, Algorithm.AES), AES_BDK),
        hsm.generate(both, "zpk"),
        hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, Algorithm.AES, KeyMode.BOTH), "zpk.aes"),
        hsm.generate(KeyUsage.PIN_VERIFICATION_IBM, "ibm"),
        hsm.generate(KeyUsage.PIN_VERIFICATION_PVV, "pvv"),
        formed(hsm, KeyUsage.MAC_RETAIL, SECOND_KEY),
    )


@settings(max_examples=20)
@given(tdes_ksns, aes_ksns, st.sampled_from([PinFormat.ISO_0, PinFormat.ISO_3]))
def test_pins_of_any_transaction(keys: Keys, tdes_ksn: TdesKsn, aes_ksn: AesKsn, tdes_format: PinFormat) -> None:
    """A terminal's block is verified, chosen, and translated into a zone; another card, PIN or transaction is wrong."""
    for terminal, asked, following, pin_format, zone, zone_format in (
        (
            tdes_terminal(tdes_ksn),
            Dukpt(keys.tdes, bytes(tdes_ksn)),
            TDES_KSN,
            tdes_format,
            keys.aes_zpk,
            PinFormat.ISO_4,
        ),
        (aes_terminal(aes_ksn), Dukpt(keys.aes, bytes(aes_ksn)), AES_KSN, PinFormat.ISO_4, keys.zpk, PinFormat.ISO_0),
    ):
        block = pinblock.encipher_block(pin_format, terminal.encipher, GOOD, PAN, bytes)
        for pvk in (keys.ibm, keys.pvv):
            reference = keys.hsm.choose_pin(block, asked, pvk, PAN, None, pin_format)
            right = PinToVerify(block, asked, PAN, reference, pin_format)
            wrong = [
                right._replace(pan=OTHER_PAN),
                right._replace(block=pinblock.encipher_block(pin_format, terminal.encipher, OTHER, PAN, bytes)),
                right._replace(block=block[:-1]),
                right._replace(reference=reference[:-1]),
            ]
            if bytes(following) != asked.ksn:
                wrong.append(right._replace(key=Dukpt(asked.key, bytes(following))))
            if pin_format is PinFormat.ISO_3:
                wrong.pop(0)  # two PANs that differ behind the PIN are not always told apart
            assert [True] + [False] * len(wrong) == keys.hsm.verify_pins([right, *wrong], pvk)
        moved = keys.hsm.translate_pin(block, asked, zone, PAN, (pin_format, zone_format))
        assert keys.hsm.verify_pin(PinToVerify(moved, zone, PAN, reference, zone_format), keys.pvv)


@settings(max_examples=20)
@given(tdes_ksns, aes_ksns)
def test_blocks_that_the_bank_sends(keys: Keys, tdes_ksn: TdesKsn, aes_ksn: AesKsn) -> None:
    """The PIN pad of a simulator: what it enciphers is what a terminal would."""
    for terminal, asked, pin_format in (
        (tdes_terminal(tdes_ksn), Dukpt(keys.tdes, bytes(tdes_ksn)), PinFormat.ISO_0),
        (aes_terminal(aes_ksn), Dukpt(keys.aes, bytes(aes_ksn)), PinFormat.ISO_4),
    ):
        block = keys.hsm.encipher_pin(GOOD, asked, PAN, pin_format)
        assert GOOD.reveal() == pinblock.decipher_block(pin_format, terminal.decipher, block, PAN)


@settings(max_examples=20)
@given(tdes_ksns, aes_ksns, st.binary(max_size=40))
def test_macs_of_any_transaction(keys: Keys, tdes_ksn: TdesKsn, aes_ksn: AesKsn, data: bytes) -> None:
    """A request is verified by the asking direction's key, the answer coded by the other's: neither passes for the other."""
    for terminal, asked in (
        (tdes_terminal(tdes_ksn), Dukpt(keys.tdes, bytes(tdes_ksn))),
        (aes_terminal(aes_ksn), Dukpt(keys.aes, bytes(aes_ksn))),
    ):
        request, answer = terminal.asks(data), terminal.is_answered(data)
        assert request != answer == keys.hsm.mac(asked, data)
        assert keys.hsm.verify_mac(asked, data, request)
        for wrong in (answer, request[:-1], request[:4], b"", request + b"\x00"):
            assert not keys.hsm.verify_mac(asked, data, wrong)
        assert not keys.hsm.verify_mac(asked, data + b"\x01", request)
        moved = keys.hsm.translate_mac(asked, keys.zak, data, request)
        assert mac.retail(SECOND_KEY, 1)(data) == moved
        assert keys.hsm.translate_mac(asked, keys.zak, data, answer) is None


@pytest.mark.parametrize("bdk", AES_BDKS, ids=len)
def test_working_keys_are_as_long_as_the_base_key(hsm: Hsm, bdk: bytes) -> None:
    """AES-128, 192 and 256."""
    handle, terminal = formed(hsm, KeySpec(KeyUsage.BASE_DERIVATION, Algorithm.AES), bdk), aes_terminal(AES_KSN, bdk)
    asked = Dukpt(handle, bytes(AES_KSN))
    block = hsm.encipher_pin(GOOD, asked, PAN, PinFormat.ISO_4)
    assert GOOD.reveal() == pinblock.decipher_block(PinFormat.ISO_4, terminal.decipher, block, PAN)
    assert terminal.is_answered(b"data") == hsm.mac(asked, b"data")
    assert hsm.verify_mac(asked, b"data", terminal.asks(b"data"))


WORKING = {
    "TDES-112": KeyType.TDES_2,
    "TDES-168": KeyType.TDES_3,
    "AES-128": KeyType.AES_128,
    "AES-192": KeyType.AES_192,
    "AES-256": KeyType.AES_256,
}
# By hand, what X9.24-3:2017 lets a base key of each length derive: triple DES always, its strength being 80 or 112 bits.
FIT = {16: ["TDES-112", "TDES-168", "AES-128"], 24: ["TDES-112", "TDES-168", "AES-128", "AES-192"], 32: list(WORKING)}
NAMED = [(bdk, name) for bdk in AES_BDKS for name in FIT[len(bdk)]]


@pytest.mark.parametrize(
    ("bdk", "name"), NAMED, ids=lambda value: value if isinstance(value, str) else str(8 * len(value))
)
@pytest.mark.parametrize("usage", [KeyUsage.BASE_DERIVATION, KeyUsage.INITIAL_DUKPT])
def test_working_keys_are_what_the_base_key_says(
    backend: str, hsm: Hsm, usage: KeyUsage, bdk: bytes, name: str
) -> None:
    """Every type under every length: blocks of the type's own formats and no other, and MACs both ways."""
    if usage is KeyUsage.INITIAL_DUKPT and lacks(backend, "initial DUKPT key"):
        return
    key = bdk if usage is KeyUsage.BASE_DERIVATION else aes_initial(AES_KSN, bdk)
    attributes = replace(attributes_of(usage, Algorithm.AES), working_key=name)
    handle = formed(hsm, KeySpec(usage, Algorithm.AES, attributes=attributes), key)
    assert name == hsm.info(handle).attributes.working_key
    asked, terminal = Dukpt(handle, bytes(AES_KSN)), aes_terminal(AES_KSN, bdk, WORKING[name])
    old, new = [PinFormat.ISO_0, PinFormat.ISO_3], [PinFormat.ISO_4]
    formats, others = (old, new) if name.startswith("TDES") else (new, old)
    for pin_format in formats:
        block = hsm.encipher_pin(GOOD, asked, PAN, pin_format)
        assert GOOD.reveal() == pinblock.decipher_block(pin_format, terminal.decipher, block, PAN)
    for pin_format in others:
        with pytest.raises(KeyRefused, match="of algorithm"):
            hsm.encipher_pin(GOOD, asked, PAN, pin_format)
    assert terminal.is_answered(b"data") == hsm.mac(asked, b"data")
    assert hsm.verify_mac(asked, b"data", terminal.asks(b"data"))
    assert not hsm.verify_mac(asked, b"data", terminal.is_answered(b"data"))


def test_working_keys_are_not_stronger_than_their_base(hsm: Hsm) -> None:
    """Of an AES key alone, by one of five names, and no stronger than it: told when the key comes in, not at a transaction."""
    for algorithm, key in [(Algorithm.TDES, SECOND_KEY), *((Algorithm.AES, bdk) for bdk in AES_BDKS)]:
        for name in [*WORKING, "", "AES", "aes-128", "AES-512", "TDES", "HMAC-128"]:
            if algorithm is Algorithm.AES and (key, name) in NAMED:
                continue
            spec = KeySpec(KeyUsage.BASE_DERIVATION, algorithm, attributes=KeyAttributes(working_key=name))
            with pytest.raises(KeyRefused, match="working_key is one of") as caught:
                formed(hsm, spec, key)
            assert one_line(caught.value)


def commands(hsm: Hsm, asked: Dukpt, pin_format: PinFormat, pvk: KeyHandle) -> list[Callable[[], object]]:
    """Everything that can be asked of the key of a transaction."""
    return [
        lambda: hsm.mac(asked, b"data"),
        lambda: hsm.verify_mac(asked, b"data", bytes(8)),
        lambda: hsm.encipher_pin(GOOD, asked, PAN, pin_format),
        lambda: hsm.verify_pin(PinToVerify(bytes(8), asked, PAN, "000000", pin_format), pvk),
        lambda: hsm.choose_pin(bytes(8), asked, pvk, PAN, None, pin_format),
    ]


def of_terminal(algorithm: Algorithm) -> KeySpec:
    """An initial key of the terminal of TDES_KSN or AES_KSN."""
    return KeySpec(KeyUsage.INITIAL_DUKPT, algorithm, attributes=attributes_of(KeyUsage.INITIAL_DUKPT, algorithm))


def test_an_initial_key_serves_no_other_terminal(backend: str, tmp_path: Path) -> None:
    """A number of another device is refused and told; a PIN with it is a wrong one."""
    if lacks(backend, "initial DUKPT key"):
        return
    heard: list[Refusal] = []
    hsm = BACKENDS[backend](tmp_path, on_refusal=heard.append)
    pvk = hsm.generate(KeyUsage.PIN_VERIFICATION_IBM, "ibm")
    for initial, algorithm, pin_format, others in (
        (tdes_initial(TDES_KSN), Algorithm.TDES, PinFormat.ISO_0, ["FFFF9876543210C0001B", "FFFF9876553210E0001B"]),
        (
            aes_initial(AES_KSN),
            Algorithm.AES,
            PinFormat.ISO_4,
            ["12345678901234570000001B", "02345678901234560000001B"],
        ),
    ):
        handle = formed(hsm, of_terminal(algorithm), initial)
        for ksn in others:
            heard.clear()
            *making, verify, choose = commands(hsm, Dukpt(handle, bytes.fromhex(ksn)), pin_format, pvk)
            for call in making:
                with pytest.raises(KsnRefused, match=f"key {handle.label}#1: the KSN is of another device") as caught:
                    call()
                assert one_line(caught.value)
            assert verify() is False
            with pytest.raises(PinRefused, match="BAD_BLOCK"):
                choose()
            told = {(one.key, one.reason) for one in heard}
            assert {
                (f"{handle.label}#1", f"key {handle.label}#1: the KSN is of another device than the initial key")
            } == told
            assert ["DERIVE_MAC_KEY"] * 2 + ["DERIVE_PIN_KEY"] * 3 == [one.operation.value for one in heard]


def test_an_initial_key_serves_its_terminal(backend: str, hsm: Hsm) -> None:
    """Where a back end can use one, it does what the base key does for that terminal."""
    for initial, algorithm, ksn, terminal, pin_format in (
        (tdes_initial(TDES_KSN), Algorithm.TDES, TDES_KSN, tdes_terminal(TDES_KSN), PinFormat.ISO_0),
        (aes_initial(AES_KSN), Algorithm.AES, AES_KSN, aes_terminal(AES_KSN), PinFormat.ISO_4),
    ):
        handle = formed(hsm, of_terminal(algorithm), initial)
        asked = Dukpt(handle, bytes(ksn))
        if lacks(backend, "initial DUKPT key"):
            for call in commands(hsm, asked, pin_format, hsm.generate(KeyUsage.PIN_VERIFICATION_IBM, "ibm")):
                with pytest.raises(KeyRefused, match="keep its BDK there"):
                    call()
            continue
        block = hsm.encipher_pin(GOOD, asked, PAN, pin_format)
        assert GOOD.reveal() == pinblock.decipher_block(pin_format, terminal.decipher, block, PAN)
        assert terminal.is_answered(b"data") == hsm.mac(asked, b"data")


BAD_KSNS = {
    "tdes": ["", "FF" * 9, "FF" * 11, "FFFF9876543210E00000", "FFFF9876543210FFFFFF", "123456789012345600000003"],
    "aes": ["", "12" * 11, "12" * 13, "123456789012345600000000", "1234567890123456FFFFFFFF", "FFFF9876543210E0001B"],
}


def test_serial_numbers_that_cannot_be(keys: Keys) -> None:
    """Of another length, counter zero, more one-bits than a device counts to: refused; a PIN with it is a wrong one."""
    for handle, ksns, pin_format in (
        (keys.tdes, BAD_KSNS["tdes"], PinFormat.ISO_0),
        (keys.aes, BAD_KSNS["aes"], PinFormat.ISO_4),
    ):
        for ksn in ksns:
            asked = Dukpt(handle, bytes.fromhex(ksn))
            *making, verify, choose = commands(keys.hsm, asked, pin_format, keys.ibm)
            for call in making:
                with pytest.raises(KsnRefused) as caught:
                    call()
                assert one_line(caught.value)
            assert verify() is False
            with pytest.raises(PinRefused) as bad:
                choose()
            assert PinRefusal.BAD_BLOCK is bad.value.reason


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_translation_of_a_serial_number_that_cannot_be_is_told_once(backend: str, tmp_path: Path) -> None:
    """Of the KSN, and not of a PAN that the block would be none of as well."""
    told: list[Refusal] = []
    hsm = BACKENDS[backend](tmp_path, on_refusal=told.append)
    bdk = hsm.generate(KeySpec(KeyUsage.BASE_DERIVATION, Algorithm.TDES), "bdk")
    target = hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH), "target")
    asked = Dukpt(bdk, bytes.fromhex("FFFF9876543210E00000"))
    with pytest.raises(PinRefused) as bad:
        hsm.translate_pin(bytes(8), asked, target, PAN, (PinFormat.ISO_0, PinFormat.ISO_0))
    assert PinRefusal.BAD_BLOCK is bad.value.reason
    assert ["bdk#1"] == [one.key for one in told]
    assert "KSN" in told[0].reason


@settings(max_examples=60)
@given(st.binary(max_size=14), st.binary(max_size=20), st.sampled_from(PinFormat))
def test_any_serial_number_and_block(keys: Keys, ksn: bytes, block: bytes, pin_format: PinFormat) -> None:
    """A wrong PIN, or an error of ours in one line."""
    for handle in (keys.tdes, keys.aes):
        asked = PinToVerify(block, Dukpt(handle, ksn), PAN, "000000", pin_format)
        try:
            answer = keys.hsm.verify_pin(asked, keys.ibm)
        except KeysError as refused:
            answer = not one_line(refused)
        assert not answer


def test_a_bad_block_is_told_from_a_bad_number(keys: Keys) -> None:
    """Choosing: the block is bad; changing: the old PIN is wrong; neither says more."""
    for handle, ksn, pin_format in ((keys.tdes, TDES_KSN, PinFormat.ISO_0), (keys.aes, AES_KSN, PinFormat.ISO_4)):
        asked = Dukpt(handle, bytes(ksn))
        block = bytes(pin_format.block_bytes)
        with pytest.raises(PinRefused) as caught:
            keys.hsm.choose_pin(block, asked, keys.ibm, PAN, None, pin_format)
        assert PinRefusal.BAD_BLOCK is caught.value.reason
        with pytest.raises(PinRefused) as caught:
            keys.hsm.change_pin(PinToVerify(block, asked, PAN, "000000", pin_format), block, keys.ibm, None)
        assert PinRefusal.WRONG_PIN is caught.value.reason


def test_a_format_wants_its_cipher(keys: Keys) -> None:
    """Triple DES terminals do not send format 4, AES terminals nothing else."""
    for asked, formats in (
        (Dukpt(keys.tdes, bytes(TDES_KSN)), [PinFormat.ISO_4]),
        (Dukpt(keys.aes, bytes(AES_KSN)), [PinFormat.ISO_0, PinFormat.ISO_1, PinFormat.ISO_3]),
    ):
        for pin_format in formats:
            with pytest.raises(KeyRefused, match="of algorithm"):
                keys.hsm.verify_pin(PinToVerify(b"", asked, PAN, "000000", pin_format), keys.ibm)


def test_other_keys_are_no_base_keys(keys: Keys) -> None:
    """A zone key with a KSN is refused, and so is a base key without one."""
    with pytest.raises(KeyRefused, match="DERIVE_PIN_KEY"):
        keys.hsm.encipher_pin(GOOD, Dukpt(keys.zpk, bytes(TDES_KSN)), PAN)
    with pytest.raises(KeyRefused, match="DERIVE_MAC_KEY"):
        keys.hsm.mac(Dukpt(keys.zak, bytes(TDES_KSN)), b"data")
    with pytest.raises(KeyRefused, match="ENCIPHER_PIN"):
        keys.hsm.encipher_pin(GOOD, keys.tdes, PAN)
    with pytest.raises(KeyRefused, match="MAKE_MAC"):
        keys.hsm.mac(keys.tdes, b"data")

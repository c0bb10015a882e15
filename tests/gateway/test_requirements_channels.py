"""The security requirements of channels that exist already (20, 23, 25): MACs, replays, secret files, parsers of the wire.

Links have neither TLS nor MAC yet, and there is no SNAP API: docs/threat-model.md says what is missing. Read next: iso/mac.py,
iso/codec.py, gateway/operations/custody.py; tests/keys/test_requirements_data.py for the parsers of keys/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.app import open_bank
from gateway.errors import GatewayError
from gateway.settings import Settings, load_settings
from gateway.simulator.terminal import Asked
from iso import private_tlv, tlv
from iso.additional_amounts import read_additional_amounts
from iso.amount import read_amount, read_replacement
from iso.bitmap import read_bitmap
from iso.codec import decode, encode, peek
from iso.dialect import EBCDIC, EDC
from iso.errors import IsoError
from iso.framing import HIMBARA_FRAMING, Deframer
from iso.layout import layout_of
from iso.mac import mac_field, mac_input, seal
from iso.original_data import read_original_data
from iso.processing_code import read_processing_code
from keys import backend
from keys.errors import KeysError
from keys.keytypes import Algorithm, KeyAttributes, KeySpec, KeyUsage
from tests.gateway.owner import as_owner
from tests.gateway.street import AID_IDR, available_idr, framed, open_street, raw_link
from tests.iso.samples import WITHDRAWAL_BYTES, withdrawal
from tests.keys import softhsm
from tests.keys.at_work import TAGS, formed
from tests.keys.backends import BACKENDS, MARKS
from tests.keys.parsers import WORST, Parser, changed, refusal, seconds
from tests.keys.samples import SECOND_KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.operations.bank import Bank

MAC_KEYS = {
    "ISO 9797-1 algorithm 3": (KeySpec(KeyUsage.MAC_RETAIL), SECOND_KEY),
    "CMAC of AES": (KeySpec(KeyUsage.MAC_CMAC, attributes=KeyAttributes(mac_length=8)), bytes(range(32))),
    "CMAC of triple DES": (KeySpec(KeyUsage.MAC_CMAC, Algorithm.TDES), SECOND_KEY),
}


@pytest.mark.parametrize("where", [pytest.param(name, marks=MARKS.get(name, ())) for name in ("software", "pkcs11")])
@pytest.mark.parametrize("kind", MAC_KEYS)
def test_requirement_20_every_byte_of_a_message_is_under_its_mac(tmp_path: Path, where: str, kind: str) -> None:
    """Made and verified by the HSM over what ISO 8583 says: any bit changed, any byte cut or added, is refused."""
    hsm = BACKENDS[where](tmp_path)
    key = formed(hsm, *MAC_KEYS[kind])
    sealed = seal(withdrawal(), lambda covered: hsm.mac(key, covered))

    def right(data: bytes) -> bool:
        try:
            covered, code = mac_input(data), bytes.fromhex(data[-16:].decode("ascii"))
        except (IsoError, ValueError):
            return False
        return hsm.verify_mac(key, covered, code)

    assert right(sealed)
    assert withdrawal().fields == {
        n: value for n, value in decode(sealed).fields.items() if n != mac_field(withdrawal())
    }
    for bit in range(8 * len(sealed)):
        flipped = (int.from_bytes(sealed) ^ 1 << bit).to_bytes(len(sealed))
        # A hexadecimal digit in small letters is the same code; all else is another message.
        assert flipped.upper() == sealed or not right(flipped), bit
    for cut in (sealed[:-1], sealed[1:], sealed + b"0", sealed[:-16], sealed[:-16] + b"0" * 16):
        assert not right(cut)


def test_requirement_20_a_mac_is_checked_before_any_field_is_read(tmp_path: Path) -> None:
    """What is covered is told by MTI and bitmaps alone: fields that are no fields are refused by their MAC, and never parsed."""
    hsm = BACKENDS["software"](tmp_path)
    key = formed(hsm, *MAC_KEYS["ISO 9797-1 algorithm 3"])
    sealed = seal(withdrawal(), lambda covered: hsm.mac(key, covered))
    rubbish = sealed[:36] + bytes(len(sealed) - 52) + sealed[-16:]
    with pytest.raises(IsoError):
        decode(rubbish)
    assert rubbish[:-16] == mac_input(rubbish)
    assert not hsm.verify_mac(key, mac_input(rubbish), bytes.fromhex(rubbish[-16:].decode("ascii")))


async def test_requirement_20_a_message_that_comes_again_moves_nothing(bank: Bank, tmp_path: Path) -> None:
    """Byte for byte, over another connection or marked as a repeat: the stored answer; with other content it is refused."""
    async with open_street(bank, tmp_path) as street:
        first = street.atm.request(Asked.CASH, street.card, 50_000)
        answer = (await street.atm.send(first)).answer
        assert answer is not None
        async with raw_link(street.service) as link:
            await link.send(framed(street.switch.network_message("001")))
            await link.receive()
            for _ in range(5):
                await link.send(framed(first))
                assert answer.fields == (await link.receive()).fields
            first.fields[4] = "000009000000"
            await link.send(framed(first))
            assert "94" == (await link.receive()).get(39)
        assert AID_IDR - 50_000 == await available_idr(bank, street.families[0].family_id)
        assert [(1, 50_000)] == await as_owner(
            bank, "SELECT count(*), sum(amount_idr) FROM transfer WHERE kind = 'WITHDRAWAL'"
        )


SECRET_FILES = ("master_key_file", "master_passphrase_file", "pkcs11 pin_file")
"""Settings, and options of key back ends, that name a file with a secret in it."""
MODES = (0o640, 0o604, 0o660, 0o606, 0o644, 0o620, 0o602, 0o610, 0o777, 0o601)


def test_requirement_23_secrets_are_in_files_of_mode_0600() -> None:
    """No setting is itself a secret, but the address of the database, which is shown without its password."""
    files = {name for name, field in Settings.model_fields.items() if "mode 0600" in (field.description or "")}
    words = ("pin", "key", "pass", "secret", "token", "password", "credential")
    named = {name for name in Settings.model_fields if any(word in name for word in words)} - files
    assert {"key_backend", "key_options", "pin_tries"} == named
    for name in ("software", "pkcs11"):
        options = backend.find(name).options
        files |= {f"{name} {option}" for option, meaning in options.items() if "mode 0600" in meaning}
        assert [] == [
            one for one in options if any(word in one for word in ("pin", "pass", "secret")) and "file" not in one
        ]
    assert set(SECRET_FILES) == files


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=softhsm.needs_token if "pkcs11" in one else ()) for one in SECRET_FILES]
)
async def test_requirement_23_no_start_with_a_secret_that_others_may_read(
    bank_settings: Settings, tmp_path: Path, name: str
) -> None:
    """Each secret file is looked at at each start: any right of another account, and the bank does not open, in one line."""
    path = tmp_path / "secret"
    given_ = _settings(bank_settings, name, path)
    if name != "master_key_file":
        path.write_text(softhsm.USER.reveal() if "pkcs11" in name else "correct horse battery staple")
        path.chmod(0o600)
    async with open_bank(given_) as bank:
        assert bank.hsm.keys()
    assert 0o600 == path.stat().st_mode & 0o7777
    before = path.read_bytes()
    for mode in MODES:
        path.chmod(mode)
        with pytest.raises((GatewayError, KeysError)) as caught:
            async with open_bank(given_):
                pass
        assert "0600" in str(caught.value), oct(mode)
        assert "\n" not in str(caught.value)
        assert before.decode().strip() not in str(caught.value)
        assert mode == path.stat().st_mode & 0o7777  # told, not mended
    path.chmod(0o600)
    async with open_bank(given_) as bank:
        assert bank.hsm.keys()


def _settings(base: Settings, name: str, path: Path) -> Settings:
    """Those of BASE, with PATH for the secret."""
    secret: dict[str, Any] = {name: path}
    if "pkcs11" in name:
        options = {"module": str(softhsm.module()), "token": softhsm.LABEL, "pin_file": str(path)}
        secret = {"key_backend": "pkcs11", "key_options": options}
    return load_settings(database_url=base.database_url, data_dir=base.data_dir, iso_port=0, http_port=0, **secret)


async def test_requirement_23_what_the_bank_writes_is_for_nobody_else(bank: Bank) -> None:
    """Keystore and master key file are of mode 0600, in a folder that only their owner enters."""
    folder = bank.settings.data_dir / "keys"
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert {"keystore.json": 0o600, "master.key": 0o600} == {
        name: modes[name] for name in ("keystore.json", "master.key")
    }
    assert {0o600} == set(modes.values())
    assert 0o700 == folder.stat().st_mode & 0o777


def _text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """A parser of text, given what a message makes of bytes."""
    return lambda data: read(data.decode("latin-1"))


CHIP = tlv.build(TAGS.items())
WIRE = {
    "a message": Parser(decode, WITHDRAWAL_BYTES),
    "the head of a message": Parser(peek, WITHDRAWAL_BYTES),
    "a stream of messages": Parser(lambda data: Deframer(HIMBARA_FRAMING).feed(data), HIMBARA_FRAMING.frame(WITHDRAWAL_BYTES)),
    "what a MAC covers": Parser(mac_input, seal(withdrawal(), lambda _: bytes(8))),
    "chip data": Parser(tlv.parse, CHIP),
    "a message of packed digits": Parser(lambda data: decode(data, EDC), encode(withdrawal(), EDC)),
    "a message in EBCDIC": Parser(lambda data: decode(data, EBCDIC), encode(withdrawal(), EBCDIC)),
    "private tags": Parser(_text(lambda text: private_tlv.parse(text, "2+3", 48)), b"EX00520261PI003abc"),
    "private tokens": Parser(_text(lambda text: private_tlv.parse(text, "tokens", 126)), b"& 0000200026! Q900004 SITI"),
    "columns": Parser(_text(layout_of(43, {"name": 12, "city": 13, "code": "n5"}).read), b"WARUNG      JAKARTA      00360"),
    "a bitmap": Parser(_text(read_bitmap), b"723C448128E09000"),
    "an amount": Parser(_text(lambda text: read_amount(text, 2)), b"000005000000"),
    "replacement amounts": Parser(_text(lambda text: read_replacement(text, 2)), b"0" * 42),
    "additional amounts": Parser(_text(lambda text: read_additional_amounts(text, 2)), b"1002360C000000000000"),
    "original data": Parser(_text(read_original_data), b"020000000111281511140000000000200000000000"),
    "a processing code": Parser(_text(read_processing_code), b"012000"),
}  # fmt: skip


@pytest.mark.parametrize("name", WIRE)
@settings(max_examples=80)
@given(data=st.data())
def test_requirement_25_any_bytes_of_the_wire_are_read_or_refused(name: str, data: st.DataObject) -> None:
    """ISO 8583 and TLV: of no parser comes an error but the room's own, in one line; and what it took it takes as before."""
    parser = WIRE[name]
    given_ = data.draw(st.binary(max_size=120) | changed(parser.taken))
    error = refusal(parser, given_, IsoError)
    assert error is None or (str(error) and "\n" not in str(error))
    assert refusal(parser, parser.taken, IsoError) is None


@pytest.mark.parametrize("name", WIRE)
def test_requirement_25_no_bytes_of_the_wire_take_long(name: str) -> None:
    """A hundred thousand bytes of the worst kinds take less than a second each."""
    parser = WIRE[name]
    for piece in (*WORST, b"\x1f\x81", b"\xff\x84\xff\xff\xff\xff", parser.taken):
        many = piece * (100_000 // len(piece))
        assert max(seconds(parser, many, IsoError), seconds(parser, parser.taken[:-1] + many, IsoError)) < 1


async def test_requirement_25_any_bytes_at_the_door_leave_it_open(bank: Bank, tmp_path: Path) -> None:
    """Rubbish in frames of the right length: each is answered or closes its own connection, nothing moves."""
    good = encode(withdrawal())
    async with open_street(bank, tmp_path) as street:
        for rubbish in (
            b"",
            b"\0" * 40,
            b"9" * 40,
            good[:-3],
            good[:4] + b"G" * 16 + good[20:],
            good + b"tail",
            b"\xff" * 2000,
        ):
            async with raw_link(street.service) as link:
                await link.send(HIMBARA_FRAMING.frame(rubbish) if rubbish else b"0000")
                await link.send(framed(street.switch.network_message("001")))
                try:
                    answers = [await link.receive()]
                except ConnectionError:
                    continue
                assert {one.get(39) for one in answers} <= {"30", "12", "00"}
        assert (await street.atm.balance(street.card)).available_idr == AID_IDR

"""The parsers of keys/ for what comes from outside, each with something it takes; and bytes to fuzz them with."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import strategies as st

from keys import keyfile, keystore, rsa_keys, signing, tr31, tr31_header
from keys.emv_profile import profiles
from keys.errors import KeysError
from keys.hsm import Dukpt, PinToVerify
from keys.keytypes import Exportability, KeyMode, KeySpec, KeyUsage
from keys.ksn import AesKsn, TdesKsn
from keys.master import MasterKey, read_master_key_file
from keys.pinblock import PinFormat
from keys.sensitive import Pan, Pin
from keys.software import SoftwareHsm
from keys.vault import Vault
from tests.keys.at_work import TAGS
from tests.keys.samples import PAN, rsa_private, vectors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MASTER = MasterKey(bytes(range(32)))
BODY = b'{"partnerReferenceNo": "1", "amount": {"value": "10000.00", "currency": "IDR"}}'


class Parser(NamedTuple):
    """What is fuzzed: a call with bytes from outside, and bytes that it takes."""

    read: Callable[[bytes], object]
    taken: bytes


def parsers_of_keys(folder: Path) -> dict[str, Parser]:
    """Every one of them, through the facade where it stands behind it."""
    hsm = SoftwareHsm.in_memory()
    return _of_blocks(hsm) | _of_pins(hsm) | _of_cards_and_data(hsm) | _of_files(folder)


def refusal(parser: Parser, data: bytes, room: type[Exception] = KeysError) -> Exception | None:
    """The error by which DATA is refused, of the root error of a ROOM; None where it is read. Any other error goes on."""
    try:
        parser.read(data)
    except room as error:
        return error
    return None


def seconds(parser: Parser, data: bytes, room: type[Exception] = KeysError) -> float:
    """How long the processor was busy with DATA, read or refused."""
    started = time.process_time()
    refusal(parser, data, room)
    return time.process_time() - started


WORST = (b"\0", b"0", b"9", b"\xff", b'"', b'"\\', b" ", b"[", b"{", b"=", b"D0112")
"""What to send a hundred thousand times."""


def changed(data: bytes) -> st.SearchStrategy[bytes]:
    """DATA with a piece taken out and another put there."""
    pieces = st.binary(max_size=9) | st.sampled_from(
        [b"0", b"FF", b"\xff", b"\0", b"\xc3\xa9", b"9999", data[:16], data]
    )
    cuts = st.tuples(st.integers(0, len(data)), st.integers(0, 9))
    return st.builds(lambda cut, piece: data[: cut[0]] + piece + data[sum(cut) :], cuts, pieces)


def _of_blocks(hsm: SoftwareHsm) -> dict[str, Parser]:
    kbpk = hsm.generate(KeyUsage.KEY_BLOCK_PROTECTION, "kbpk")
    leaving = KeySpec(KeyUsage.MAC_RETAIL, exportability=Exportability.EXPORTABLE)
    block = hsm.export_block(hsm.generate(leaving, "leaves"), kbpk).encode()
    published = {vector["name"].split(".")[1]: vector["inputs"] for vector in vectors("tr31.")}["B"]
    opener = tr31.Opener(bytes.fromhex(published["kbpk"]), "BC", allow_weak_kbpk=True)
    return {
        "key block D": Parser(lambda data: hsm.import_block("came", _text(data), kbpk), block),
        "key block B and C": Parser(lambda data: opener.unwrap(_text(data)), published["key_block"].encode()),
        "key block header": Parser(lambda data: tr31_header.parse(_text(data)), block),
    }


def _of_pins(hsm: SoftwareHsm) -> dict[str, Parser]:
    zpk = hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH), "zpk")
    pvk = hsm.generate(KeyUsage.PIN_VERIFICATION_IBM, "pvk")
    bdk = hsm.generate(KeyUsage.BASE_DERIVATION, "bdk")
    block = hsm.encipher_pin(Pin("271828"), zpk, PAN)
    formats = PinFormat.ISO_0, PinFormat.ISO_3

    def verify(data: bytes) -> list[bool]:
        asked = [PinToVerify(data, zpk, PAN, _text(data), one) for one in (*formats, PinFormat.ISO_1)]
        return hsm.verify_pins(asked, pvk)

    return {
        "PIN block, verified": Parser(verify, block),
        "PIN block, chosen": Parser(lambda data: hsm.choose_pin(data, zpk, pvk, PAN, None), block),
        "PIN block, translated": Parser(lambda data: hsm.translate_pin(data, zpk, zpk, PAN, formats), block),
        "KSN, TDES": Parser(TdesKsn.parse, bytes.fromhex("FFFF9876543210E00003")),
        "KSN, AES": Parser(lambda data: AesKsn.parse(_text(data)), b"123456789012345600020001"),
        "KSN, used": Parser(lambda data: hsm.mac(Dukpt(bdk, data), b"x"), bytes.fromhex("FFFF9876543210E00003")),
        "PAN": Parser(lambda data: Pan(_text(data), luhn=True), PAN.reveal().encode()),
        "PIN": Parser(lambda data: Pin(_text(data)), b"271828"),
    }


def _of_cards_and_data(hsm: SoftwareHsm) -> dict[str, Parser]:
    imk = hsm.generate(KeyUsage.ISSUER_CRYPTOGRAM, "imk")
    vault = Vault(hsm, [hsm.generate(KeyUsage.DATA_SEALING, "seal")], hsm.generate(KeyUsage.BLIND_INDEX, "index"))
    sealed = vault.seal("text", table="t", row=1, column="c")

    def verify_chip(data: bytes) -> object:
        """DATA: each tag's length and value, in their order."""
        tags, at = {}, 0
        for tag in TAGS:
            length = data[at] if at < len(data) else 0
            tags[tag], at = data[at + 1 : at + 1 + length], at + 1 + length
        return hsm.verify_cryptogram(profiles()["nsiccs"], imk, PAN, "00", tags, b"00")

    return {
        "chip data": Parser(verify_chip, b"".join(bytes([len(value)]) + value for value in TAGS.values())),
        "sealed data": Parser(lambda data: vault.open(data, table="t", row=1, column="c"), sealed),
        "SNAP body": Parser(signing.body_hash, BODY),
        "SNAP signature": Parser(lambda data: signing.from_text(_text(data), signing.Encoding.BASE64), b"3q2+7w=="),
        "RSA key": Parser(lambda data: hsm.import_signing_key("rsa", data), rsa_keys.public_of(rsa_private())),
    }


def _of_files(folder: Path) -> dict[str, Parser]:
    store = folder / "store"
    SoftwareHsm.create(store, MASTER).generate(KeyUsage.MAC_HMAC, "key")
    taken = store.read_bytes()

    def written(data: bytes) -> Path:
        path = folder / "fuzzed"
        path.write_bytes(data)
        path.chmod(0o600)
        return path

    return {
        "keystore file": Parser(lambda data: keyfile.read(written(data), keystore.PARTS), taken),
        "keystore": Parser(lambda data: SoftwareHsm.open(written(data), MASTER), taken),
        "master key file": Parser(lambda data: read_master_key_file(written(data)), MASTER.reveal().hex().encode()),
    }


def _text(data: bytes) -> str:
    """Whatever a server or a file makes of bytes."""
    return data.decode("utf-8", "surrogateescape")

"""Every back end: key blocks in and out, versions D and B, and signing keys that come in."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import psec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from keys import rsa_keys, tr31
from keys.errors import KeyBlockError, KeyRefused, KeysError
from keys.keytypes import (
    Algorithm,
    Exportability,
    KeyAttributes,
    KeyMode,
    KeySpec,
    KeyState,
    KeyUsage,
)
from keys.tr31_header import Header
from tests.keys.at_work import KINDS, Kind, check_value, formed, key_of, new_label, spec_of, works
from tests.keys.backends import lacks
from tests.keys.samples import DEVICES, SECOND_KEY, one_line

if TYPE_CHECKING:
    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle

psec_warns = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
AES_KBPK = Kind(KeyUsage.KEY_BLOCK_PROTECTION, Algorithm.AES, 256)
TDES_KBPK = Kind(KeyUsage.KEY_BLOCK_PROTECTION, Algorithm.TDES, 192)
M3 = Kind(KeyUsage.MAC_RETAIL, Algorithm.TDES, 128)
STAY = {KeyUsage.DATA_SEALING, KeyUsage.BLIND_INDEX, KeyUsage.SIGNATURE}
"""Usages whose keys never leave."""
TRAVEL = [kind for kind in KINDS if kind.usage not in STAY]
VERSIONS = {"D": AES_KBPK, "B": TDES_KBPK}


def kbpk(hsm: Hsm, version: str) -> KeyHandle:
    """A known key block protection key."""
    kind = VERSIONS[version]
    return formed(hsm, spec_of(kind), key_of(kind))


def opened(version: str, block: str) -> tuple[Header, bytes]:
    """A block, by the key itself."""
    return tr31.Opener(key_of(VERSIONS[version]), version).unwrap(block)


@pytest.mark.parametrize("kind", TRAVEL, ids=str)
@pytest.mark.parametrize("version", VERSIONS)
def test_known_keys_travel(backend: str, hsm: Hsm, version: str, kind: Kind) -> None:
    """Of every usage, algorithm and length: out in a block that says what it is, and in again as the same key."""
    zone, key = kbpk(hsm, version), key_of(kind)
    handle = formed(hsm, spec_of(kind, exportable=True), key)
    if version == "B" and kind.algorithm is not Algorithm.TDES:
        with pytest.raises(KeyBlockError, match="weaker"):
            hsm.export_block(handle, zone)
        return
    block = hsm.export_block(handle, zone)
    header, inside = opened(version, block)
    assert key == inside
    info = hsm.info(handle)
    assert (kind.usage, kind.algorithm, info.mode, "E", "01") == (
        header.usage, header.algorithm, header.mode, header.exportability, header.key_version,
    )  # fmt: skip
    again = hsm.import_block(new_label(), block, zone)
    other = hsm.info(again)
    assert (info.usage, info.algorithm, info.mode, info.bits, info.kcv, info.attributes, info.exportability) == (
        other.usage, other.algorithm, other.mode, other.bits, other.kcv, other.attributes, other.exportability,
    )  # fmt: skip
    assert check_value(kind, key) == other.kcv
    if kind.usage is not KeyUsage.INITIAL_DUKPT or not lacks(backend, "initial DUKPT key"):
        assert works(hsm, again, key)


@pytest.mark.parametrize("kind", [kind for kind in TRAVEL if kind.algorithm is not Algorithm.RSA], ids=str)
def test_made_keys_travel(hsm: Hsm, kind: Kind) -> None:
    """A random key that was made exportable comes out, and has the check value it said."""
    zone = kbpk(hsm, "D")
    handle = hsm.generate(spec_of(kind, exportable=True, made=True), new_label())
    assert check_value(kind, opened("D", hsm.export_block(handle, zone))[1]) == hsm.kcv(handle)


@pytest.mark.parametrize("digest", ["SHA-256", "SHA-512"])
def test_the_hash_of_an_hmac_key_travels(hsm: Hsm, digest: str) -> None:
    """In optional block HM."""
    attributes = KeyAttributes(mac_length=32, digest=digest)
    spec = KeySpec(KeyUsage.MAC_HMAC, attributes=attributes, exportability=Exportability.EXPORTABLE)
    zone = kbpk(hsm, "D")
    block = hsm.export_block(hsm.generate(spec, new_label()), zone)
    assert {"SHA-256": "21", "SHA-512": "23"}[digest] == opened("D", block)[0].block("HM")
    assert digest == hsm.info(hsm.import_block(new_label(), block, zone)).attributes.digest


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_keys_that_stay_stay(hsm: Hsm, kind: Kind) -> None:
    """What was not made exportable never leaves, nor does a key of a usage that has nothing to do elsewhere."""
    zone = kbpk(hsm, "D")
    exportable = kind.usage in STAY and kind.algorithm is not Algorithm.RSA
    handle = (
        hsm.import_signing_key(new_label(), key_of(kind))
        if kind.algorithm is Algorithm.RSA
        else formed(hsm, spec_of(kind, exportable=exportable), key_of(kind))
    )
    with pytest.raises(KeyRefused, match="LEAVE"):
        hsm.export_block(handle, zone)


def test_a_key_does_not_leave_under_any_key(hsm: Hsm) -> None:
    """The other one must be a KBPK that may encipher; one that only deciphers takes keys in."""
    handle = formed(hsm, spec_of(Kind(KeyUsage.MAC_RETAIL, Algorithm.TDES, 128), exportable=True), SECOND_KEY)
    known = key_of(AES_KBPK)
    out, in_ = (
        formed(hsm, KeySpec(KeyUsage.KEY_BLOCK_PROTECTION, mode=mode), known)
        for mode in (KeyMode.ENCRYPT, KeyMode.DECRYPT)
    )
    block = hsm.export_block(handle, out)
    assert hsm.kcv(handle) == hsm.kcv(hsm.import_block(new_label(), block, in_))
    with pytest.raises(KeyRefused, match="WRAP_KEY"):
        hsm.export_block(handle, in_)
    with pytest.raises(KeyRefused, match="UNWRAP_KEY"):
        hsm.import_block(new_label(), block, out)
    for other in (handle, hsm.generate(KeyUsage.DATA_SEALING, new_label())):
        with pytest.raises(KeyRefused, match="WRAP_KEY"):
            hsm.export_block(handle, other)
        with pytest.raises(KeyRefused, match="UNWRAP_KEY"):
            hsm.import_block(new_label(), block, other)
    hsm.set_state(handle, KeyState.SUSPENDED)
    with pytest.raises(KeyRefused, match="SUSPENDED"):
        hsm.export_block(handle, out)


@psec_warns
@pytest.mark.parametrize("version", VERSIONS)
def test_blocks_of_another_maker(hsm: Hsm, version: str) -> None:
    """The psec package writes what every back end reads, and reads what it writes."""
    zone, secret = kbpk(hsm, version), key_of(VERSIONS[version])
    handle = hsm.import_block(new_label(), psec.tr31.wrap(secret, f"{version}0000M3TC00E0000", SECOND_KEY), zone)
    assert works(hsm, handle, SECOND_KEY)
    header, key = psec.tr31.unwrap(secret, hsm.export_block(handle, zone))
    assert ("M3", "T", "C", SECOND_KEY) == (header.key_usage, header.algorithm, header.mode_of_use, key)


def test_every_character_of_a_block_is_bound(hsm: Hsm) -> None:
    """A changed character makes no key, of whatever kind the change is."""
    for version, kind in VERSIONS.items():
        zone = kbpk(hsm, version)
        block = tr31.wrap(key_of(kind), Header(version, "M3", "T", "C"), SECOND_KEY)
        assert works(hsm, hsm.import_block(new_label(), block, zone), SECOND_KEY)
        before = hsm.keys()
        for at, was in enumerate(block):
            for put in {"0", "A", "Z", "é"} - {was}:
                with pytest.raises(KeyBlockError):
                    hsm.import_block(new_label(), block[:at] + put + block[at + 1 :], zone)
        assert before == hsm.keys()


@settings(max_examples=60)
@given(st.data())
def test_any_text_is_a_key_block_or_refused(hsm: Hsm, data: st.DataObject) -> None:
    """Random text, text behind a good header, a good block with a few characters changed: no error but ours, in one line."""
    version = data.draw(st.sampled_from(sorted(VERSIONS)))
    zone = kbpk(hsm, version)
    block = tr31.wrap(key_of(VERSIONS[version]), Header(version, "M3", "T", "C"), SECOND_KEY)
    text = data.draw(
        st.text(max_size=200)
        | st.text("0123456789ABCDEF", max_size=200).map(lambda rest: f"{version}{16 + len(rest):04d}M3TC00E0000{rest}")
        | st.tuples(st.integers(0, len(block) - 1), st.text(max_size=4)).map(
            lambda change: block[: change[0]] + change[1] + block[change[0] + len(change[1]) :]
        )
    )
    before = len(hsm.keys())
    try:
        hsm.import_block(new_label(), text, zone)
    except KeysError as refused:
        error = refused
    else:
        assert text == block
        return
    assert one_line(error)
    assert before == len(hsm.keys())


@pytest.mark.parametrize(
    ("header", "key", "said"),
    [
        (Header("D", "D0", "T", "B"), SECOND_KEY, "takes no|does not go"),
        (Header("D", "P0", "H", "B"), SECOND_KEY, "does not go"),
        (Header("D", "K0", "A", "B"), SECOND_KEY, "not kept here"),
        (Header("D", "M3", "T", "E"), SECOND_KEY, "does not go"),
        (Header("D", "M3", "T", "C"), SECOND_KEY[:8] * 2, "equal parts"),
        (Header("D", "M3", "T", "C"), SECOND_KEY + bytes(range(8)), "takes no"),
        (Header("D", "M6", "A", "C"), bytes([7]) * 16, "one byte again"),
        (Header("D", "M3", "T", "C", "c1"), SECOND_KEY, "component"),
        (Header("D", "M7", "H", "C", blocks=(("HM", "20"),)), bytes(range(32)), "hash 20"),
        (Header("D", "S0", "R", "S"), bytes(range(100)), "PKCS #8|public key"),
    ],
)
def test_authentic_blocks_of_keys_that_cannot_be(hsm: Hsm, header: Header, key: bytes, said: str) -> None:
    """The MAC is right, and still the key has no place here."""
    zone, before = kbpk(hsm, "D"), hsm.keys()
    block = tr31.wrap(key_of(AES_KBPK), header, key)
    with pytest.raises(KeyRefused, match=said):
        hsm.import_block(new_label(), block, zone)
    assert before[: len(hsm.keys())] == hsm.keys()


def test_a_specification_narrows_and_never_widens(hsm: Hsm) -> None:
    """Mode and exportability become less, days and state are added; usage, algorithm and more freedom are refused."""
    zone = kbpk(hsm, "D")
    block = tr31.wrap(key_of(AES_KBPK), Header("D", "P0", "T", "B", exportability="E"), key_of(TDES_KBPK))
    narrow = KeySpec(
        KeyUsage.PIN_ENCRYPTION, mode=KeyMode.DECRYPT, state=KeyState.PRE_ACTIVE, active_to=date(2027, 1, 1)
    )
    info = hsm.info(hsm.import_block(new_label(), block, zone, narrow))
    assert (KeyMode.DECRYPT, KeyState.PRE_ACTIVE, date(2027, 1, 1)) == (info.mode, info.state, info.active_to)
    assert Exportability.NOT_EXPORTABLE is info.exportability
    assert Exportability.EXPORTABLE is hsm.info(hsm.import_block(new_label(), block, zone)).exportability
    one_way = tr31.wrap(key_of(AES_KBPK), Header("D", "P0", "T", "D", exportability="N"), key_of(TDES_KBPK))
    wide = KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH, exportability=Exportability.EXPORTABLE)
    with pytest.raises(KeyRefused, match="permits mode D, not B"):
        hsm.import_block(new_label(), one_way, zone, wide)
    kept = hsm.import_block(
        new_label(), one_way, zone, KeySpec(KeyUsage.PIN_ENCRYPTION, exportability=Exportability.EXPORTABLE)
    )
    assert (KeyMode.DECRYPT, Exportability.NOT_EXPORTABLE) == (hsm.info(kept).mode, hsm.info(kept).exportability)
    for other in (KeySpec(KeyUsage.MAC_RETAIL), KeySpec(KeyUsage.PIN_ENCRYPTION, Algorithm.AES)):
        with pytest.raises(KeyRefused, match="and no other"):
            hsm.import_block(new_label(), block, zone, other)


def test_a_key_may_wait_for_its_check_value(hsm: Hsm) -> None:
    """A state alone narrows nothing else: the block's mode and exportability stay; it works once it is active."""
    zone = kbpk(hsm, "D")
    block = tr31.wrap(key_of(AES_KBPK), Header("D", "M3", "T", "C", exportability="E"), SECOND_KEY)
    handle = hsm.import_block(new_label(), block, zone, state=KeyState.PRE_ACTIVE)
    assert (KeyState.PRE_ACTIVE, Exportability.EXPORTABLE) == (hsm.info(handle).state, hsm.info(handle).exportability)
    with pytest.raises(KeyRefused, match="PRE_ACTIVE"):
        hsm.mac(handle, b"message")
    hsm.set_state(handle, KeyState.ACTIVE)
    assert works(hsm, handle, SECOND_KEY)
    with pytest.raises(KeyRefused, match="a new key is PRE_ACTIVE or ACTIVE"):
        hsm.import_block(new_label(), block, zone, state=KeyState.SUSPENDED)


OLDER = KeyAttributes(legacy_versions="AC")


@psec_warns
@pytest.mark.parametrize("version", ["A", "C"])
def test_blocks_of_older_versions(backend: str, hsm: Hsm, version: str) -> None:
    """Their MAC is 4 bytes: read where the KBPK says so and is at hand, and else refused and told; B is read by each."""
    block = psec.tr31.wrap(key_of(TDES_KBPK), f"{version}0000M3TC00E0000", SECOND_KEY)
    newer = tr31.wrap(key_of(TDES_KBPK), Header("B", "M3", "T", "C"), SECOND_KEY)
    plain, zone = kbpk(hsm, "B"), formed(hsm, replace(spec_of(TDES_KBPK), attributes=OLDER), key_of(TDES_KBPK))
    assert (None, "AC") == tuple(hsm.info(one).attributes.legacy_versions for one in (plain, zone))
    for closed in [plain, zone] if lacks(backend, "blocks of versions A and C") else [plain]:
        with pytest.raises(KeyBlockError, match=f"version {version} are not opened here") as caught:
            hsm.import_block(new_label(), block, closed)
        assert one_line(caught.value)
    if not lacks(backend, "blocks of versions A and C"):
        assert works(hsm, hsm.import_block(new_label(), block, zone), SECOND_KEY)
        for at in range(len(block)):
            changed = block[:at] + ("0" if block[at] != "0" else "1") + block[at + 1 :]
            with pytest.raises(KeyBlockError):
                hsm.import_block(new_label(), changed, zone)
    for either in (plain, zone):
        assert works(hsm, hsm.import_block(new_label(), newer, either), SECOND_KEY)
    assert "B" == hsm.export_block(formed(hsm, spec_of(M3, exportable=True), SECOND_KEY), zone)[0]


def test_older_versions_are_of_triple_des(hsm: Hsm) -> None:
    """An AES key opens none of them, whatever it says; and no other usage says so."""
    for spec in (
        replace(spec_of(AES_KBPK), attributes=OLDER),
        KeySpec(KeyUsage.PIN_ENCRYPTION, attributes=OLDER),
        replace(spec_of(TDES_KBPK), attributes=KeyAttributes(legacy_versions="C")),
    ):
        with pytest.raises(KeyRefused, match="legacy_versions"):
            hsm.generate(spec, new_label())


@pytest.mark.parametrize("algorithm", DEVICES)
def test_initial_keys_come_with_their_device(hsm: Hsm, algorithm: Algorithm) -> None:
    """In optional block KS (triple DES) or IK (AES): out and in again; said or sent, and where both, the same."""
    zone, device, name = kbpk(hsm, "D"), DEVICES[algorithm], {"T": "KS", "A": "IK"}[algorithm.value]
    key = SECOND_KEY if algorithm is Algorithm.TDES else bytes(range(16))
    spec = KeySpec(
        KeyUsage.INITIAL_DUKPT,
        algorithm,
        attributes=KeyAttributes(device=device),
        exportability=Exportability.EXPORTABLE,
    )
    block = hsm.export_block(formed(hsm, spec, key), zone)
    assert device == opened("D", block)[0].block(name)
    for told in (None, KeySpec(KeyUsage.INITIAL_DUKPT), spec):
        assert device == hsm.info(hsm.import_block(new_label(), block, zone, told)).attributes.device
    other = KeyAttributes(device="0" * len(device))
    with pytest.raises(KeyRefused, match=f"of device {device}, and no other"):
        hsm.import_block(new_label(), block, zone, replace(spec, attributes=other))
    bare = tr31.wrap(key_of(AES_KBPK), Header("D", "B1", algorithm.value, "X"), key)
    with pytest.raises(KeyRefused, match="attribute device is missing"):
        hsm.import_block(new_label(), bare, zone)
    assert device == hsm.info(hsm.import_block(new_label(), bare, zone, spec)).attributes.device
    lower = tr31.wrap(key_of(AES_KBPK), Header("D", "B1", algorithm.value, "X", blocks=((name, device.lower()),)), key)
    assert device == hsm.info(hsm.import_block(new_label(), lower, zone)).attributes.device
    short = tr31.wrap(key_of(AES_KBPK), Header("D", "B1", algorithm.value, "X", blocks=((name, device[:-2]),)), key)
    with pytest.raises(KeyRefused, match="named by its initial"):
        hsm.import_block(new_label(), short, zone)


def test_a_base_key_with_a_key_set_has_no_device(hsm: Hsm) -> None:
    """Optional block KS stands in blocks of base keys too (X9.143, 8.4.2): they serve all terminals of the set."""
    zone = kbpk(hsm, "D")
    blocks = (("KS", "00604B120F9292800000"),)
    block = tr31.wrap(key_of(AES_KBPK), Header("D", "B0", "T", "X", blocks=blocks), SECOND_KEY)
    assert hsm.info(hsm.import_block(new_label(), block, zone)).attributes.device is None


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    """A signing key from elsewhere."""
    return rsa.generate_private_key(65537, 2048)


def encodings(key: rsa.RSAPrivateKey) -> tuple[list[bytes], list[bytes]]:
    """Every form that a private and a public key may come in."""
    plain, pkcs8 = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
    private = [
        key.private_bytes(form, pkcs8, plain) for form in (serialization.Encoding.PEM, serialization.Encoding.DER)
    ]
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    public = [
        key.public_key().public_bytes(form, info) for form in (serialization.Encoding.PEM, serialization.Encoding.DER)
    ]
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "partner")])
    days = dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    certificate = made.serial_number(1).not_valid_before(days[0]).not_valid_after(days[1]).sign(key, hashes.SHA256())
    return private, [*public, certificate.public_bytes(serialization.Encoding.PEM)]


def test_signing_keys_come_in(hsm: Hsm, private_key: rsa.RSAPrivateKey) -> None:
    """PEM, DER and certificates: a private key signs, a public one verifies, both halves have one check value."""
    private, public = encodings(private_key)
    signers = [hsm.import_signing_key(new_label(), one) for one in private]
    verifiers = [hsm.import_signing_key(new_label(), one) for one in public]
    assert 1 == len({hsm.kcv(handle) for handle in (*signers, *verifiers)})
    assert {KeyMode.SIGN} == {hsm.info(handle).mode for handle in signers}
    assert {KeyMode.VERIFY} == {hsm.info(handle).mode for handle in verifiers}
    for signer in signers:
        assert works(hsm, signer, private[1])
        signature = hsm.sign(signer, b"data")
        assert [True] * 3 == [hsm.verify_signature(verifier, b"data", signature) for verifier in verifiers]
        assert [False] * 3 == [hsm.verify_signature(verifier, b"date", signature) for verifier in verifiers]


def test_signing_keys_that_cannot_be(hsm: Hsm, private_key: rsa.RSAPrivateKey) -> None:
    """Too short, of another kind, enciphered, no key at all, of another usage or mode than asked for."""
    private, public = encodings(private_key)
    plain, pkcs8, pem = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
    short = rsa.generate_private_key(65537, 1024).private_bytes(pem, pkcs8, plain)  # noqa: S505 - to be refused
    curve = ec.generate_private_key(ec.SECP256R1()).private_bytes(pem, pkcs8, plain)
    locked = private_key.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(b"secret words"))
    before = hsm.keys()
    for encoded in (short, curve, locked, b"", b"-----BEGIN PRIVATE KEY-----", private[1][:-1], public[2][:-40]):
        with pytest.raises(KeyRefused):
            hsm.import_signing_key(new_label(), encoded)
    for spec in (KeySpec(KeyUsage.MAC_HMAC), KeySpec(KeyUsage.SIGNATURE, mode=KeyMode.VERIFY)):
        with pytest.raises(KeyRefused, match="of usage S0, and this one of mode S"):
            hsm.import_signing_key(new_label(), private[0], spec)
    with pytest.raises(KeyRefused, match="of usage S0, and this one of mode V"):
        hsm.import_signing_key(new_label(), public[0], KeySpec(KeyUsage.SIGNATURE, mode=KeyMode.SIGN))
    assert before == hsm.keys()


def test_public_keys_go_to_partners(hsm: Hsm, private_key: rsa.RSAPrivateKey) -> None:
    """The same PEM of the private key as of the public one, and what a partner verifies with; before the key works already."""
    private, public = encodings(private_key)
    expected = private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    waiting = KeySpec(KeyUsage.SIGNATURE, state=KeyState.PRE_ACTIVE)
    for handle in (
        hsm.import_signing_key(new_label(), private[0]),
        hsm.import_signing_key(new_label(), public[0]),
        hsm.import_signing_key(new_label(), private[0], waiting),
    ):
        assert expected == hsm.public_key(handle)
    mine = hsm.generate(KeyUsage.SIGNATURE, new_label())
    theirs = hsm.import_signing_key(new_label(), hsm.public_key(mine))
    assert hsm.verify_signature(theirs, b"data", hsm.sign(mine, b"data"))
    hsm.set_state(mine, KeyState.DEACTIVATED)
    with pytest.raises(KeyRefused, match="may not do SHOW_PUBLIC: it is DEACTIVATED"):
        hsm.public_key(mine)
    for other in (kbpk(hsm, "D"), hsm.generate(KeyUsage.MAC_HMAC, new_label())):
        with pytest.raises(KeyRefused, match="may not do SHOW_PUBLIC"):
            hsm.public_key(other)


def test_a_made_signing_key_is_verified_elsewhere(hsm: Hsm, private_key: rsa.RSAPrivateKey) -> None:
    """Each signs for itself alone; a signature is 256 bytes, of any data, also none."""
    mine = hsm.generate(KeyUsage.SIGNATURE, new_label())
    partner = hsm.import_signing_key(new_label(), encodings(private_key)[1][0])
    for data in (b"", b"data", bytes(5000)):
        assert 256 == len(hsm.sign(mine, data))
        assert not hsm.verify_signature(partner, data, hsm.sign(mine, data))
    for wrong in (b"", bytes(255), bytes(256), bytes(257), b"\xff" * 256):
        assert not hsm.verify_signature(partner, b"data", wrong)
    with pytest.raises(KeyRefused, match="SIGN"):
        hsm.sign(partner, b"data")
    with pytest.raises(KeyRefused, match="VERIFY_SIGNATURE"):
        hsm.verify_signature(mine, b"data", bytes(256))
    assert rsa_keys.BITS[0] == hsm.info(mine).bits

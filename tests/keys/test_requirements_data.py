"""The security requirements of data and channels that keys/ holds by itself (14, 21, 25): each line tried as a whole.

What of them needs a database or a link is in tests/gateway/test_requirements_data.py and test_requirements_channels.py. Read
next: docs/threat-model.md; test_vault, test_signing and the tests of each parser for the particulars.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys import mac, rsa_keys, signing
from keys.errors import KeyRefused, VaultError
from keys.keytypes import KeyAttributes, KeySpec, KeyState, KeyUsage
from keys.software import SoftwareHsm
from keys.vault import Purpose, Vault, key_id
from tests.keys.at_work import formed
from tests.keys.parsers import BODY, WORST, Parser, changed, parsers_of_keys, refusal, seconds
from tests.keys.samples import OTHER_PAN, PAN, components, rsa_private

if TYPE_CHECKING:
    from keys.hsm import Hsm

INDEX_KEY, SEALING_KEY = bytes(range(0x20, 0x60)), bytes(range(0x90, 0xB0))


@pytest.fixture(scope="module")
def vault(hsm: Hsm) -> Vault:
    """A vault of known keys, in each back end."""
    return Vault(hsm, [formed(hsm, KeyUsage.DATA_SEALING, SEALING_KEY)], formed(hsm, KeyUsage.BLIND_INDEX, INDEX_KEY))


def test_requirement_14_a_pan_is_sealed_for_one_card_and_column(vault: Vault) -> None:
    """AES-256-GCM with the card and the column as associated data, the key's id beside it, and never the same twice."""
    sealed = {vault.seal(PAN.reveal(), table="card", row=7, column="pan") for _ in range(200)}
    assert 200 == len(sealed) == len({one[9:21] for one in sealed})
    one = min(sealed)
    assert b"\x01" + key_id(vault.sealing_key) == one[:9] == vault.current
    assert PAN.reveal() == vault.open(one, table="card", row=7, column="pan")
    assert PAN.reveal().encode() not in one
    for place in (
        ("card", 8, "pan"),
        ("card", 7, "nik"),
        ("family", 7, "pan"),
        ("card", "", "7pan"),
        ("card7", "", "pan"),
    ):
        with pytest.raises(VaultError):
            vault.open(one, table=place[0], row=place[1], column=place[2])
    for bit in range(8 * len(one)):
        flipped = (int.from_bytes(one) ^ 1 << bit).to_bytes(len(one))
        with pytest.raises(VaultError):
            vault.open(flipped, table="card", row=7, column="pan")


def test_requirement_14_a_pan_is_found_by_a_keyed_index(hsm: Hsm, vault: Vault) -> None:
    """HMAC-SHA256 of the whole PAN under its own key, which seals nothing; another key, purpose or PAN is another index."""
    expected = hmac.new(INDEX_KEY, b"pan\0" + PAN.reveal().encode(), hashlib.sha256).digest()[:16]
    assert expected == vault.index(PAN.reveal(), "pan") == vault.index(PAN.reveal(), "pan")
    others = {vault.index(PAN.reveal(), purpose) for purpose in Purpose if purpose is not Purpose.PAN}
    others |= {vault.index(OTHER_PAN.reveal(), "pan"), hashlib.sha256(PAN.reveal().encode()).digest()[:16]}
    anothers = Vault(hsm, [vault.sealing_key], hsm.generate(KeyUsage.BLIND_INDEX, "another-index"))
    others.add(anothers.index(PAN.reveal(), "pan"))
    assert len(Purpose) - 1 + 3 == len(others - {expected})
    sealing, index = vault.sealing_key, anothers._index_key
    with pytest.raises(KeyRefused, match="may not do"):
        hsm.blind_index(sealing, b"x")
    with pytest.raises(KeyRefused, match="may not do"):
        hsm.seal(index, b"x", b"")
    for one, other in ((sealing, sealing), (index, index), (index, sealing)):
        with pytest.raises(KeyRefused, match="wants keys of usage"):
            Vault(hsm, [one], other)


WHEN, PATH, TOKEN = "2026-10-05T09:00:00+07:00", "/v1.0/balance-inquiry?x=1", "t0ken"
SECRET = KeySpec(KeyUsage.MAC_HMAC, attributes=KeyAttributes(mac_length=64, digest="SHA-512"))


def test_requirement_21_a_signature_is_of_its_whole_request(hsm: Hsm) -> None:
    """HMAC-SHA512 over method, path, token, body and time: with one of them changed it is wrong; white space of JSON is none."""
    key = formed(hsm, SECRET, INDEX_KEY)
    right = signing.symmetric_string("POST", PATH, TOKEN, BODY, WHEN)
    signature = hsm.mac(key, right)
    assert hmac.new(INDEX_KEY, right, hashlib.sha512).digest() == signature
    assert hsm.verify_mac(
        key, signing.symmetric_string("POST", PATH, TOKEN, BODY.replace(b" ", b"\n\t"), WHEN), signature
    )
    for other in (
        signing.symmetric_string("PUT", PATH, TOKEN, BODY, WHEN),
        signing.symmetric_string("POST", PATH + "0", TOKEN, BODY, WHEN),
        signing.symmetric_string("POST", PATH, TOKEN + "0", BODY, WHEN),
        signing.symmetric_string("POST", PATH, TOKEN, BODY.replace(b"10000", b"90000"), WHEN),
        signing.symmetric_string("POST", PATH, TOKEN, BODY, WHEN.replace("09", "10")),
        signing.symmetric_string("POST", PATH, TOKEN, b"", WHEN),
        signing.asymmetric_string("POST", PATH, BODY, WHEN),
    ):
        assert not hsm.verify_mac(key, other, signature)
    for bit in range(8 * len(signature)):
        assert not hsm.verify_mac(key, right, (int.from_bytes(signature) ^ 1 << bit).to_bytes(64))
    for part in (b"", signature[:16], signature[:-1], signature + b"\0"):
        assert not hsm.verify_mac(key, right, part)


def test_requirement_21_an_access_token_is_asked_for_by_rsa(hsm: Hsm) -> None:
    """SHA256withRSA over client and time: our key signs and does nothing else, the partner's public key verifies."""
    private = hsm.import_signing_key("snap.own", rsa_private())
    public = hsm.import_signing_key("snap.partner", rsa_keys.public_of(rsa_private()))
    asked = signing.token_string("client", WHEN)
    signature = hsm.sign(private, asked)
    assert hsm.verify_signature(public, asked, signature)
    for other in (signing.token_string("client2", WHEN), signing.token_string("client", WHEN[:-1]), b""):
        assert not hsm.verify_signature(public, other, signature)
    for encoding in signing.Encoding:
        text = signing.to_text(signature, encoding)
        assert signature == signing.from_text(text, encoding)
        assert [None] * 4 == [
            signing.from_text(one, encoding) for one in (text + " ", text[1:], text + "==", text.swapcase() + "=")
        ]
    with pytest.raises(KeyRefused):
        hsm.sign(public, asked)
    with pytest.raises(KeyRefused):
        hsm.verify_signature(private, asked, signature)


def test_requirement_21_a_partner_has_two_secrets_at_once(hsm: Hsm) -> None:
    """While one follows the other both are found and verify; a secret that is out of use verifies nothing more."""
    first, second = (hsm.generate(SECRET, "partner") for _ in range(2))
    signatures = [hsm.mac(key, b"request") for key in (first, second)]
    for signature in signatures:
        assert 1 == sum(hsm.verify_mac(key, b"request", signature) for key in hsm.find_all("partner"))
    assert [second, first] == hsm.find_all("partner")
    hsm.set_state(first, KeyState.DEACTIVATED)
    assert [second] == hsm.find_all("partner")
    with pytest.raises(KeyRefused, match="it is DEACTIVATED"):
        hsm.verify_mac(first, b"request", signatures[0])


def test_requirement_21_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, by the one function that does not tell where two of them differ: a MAC of a link and a signature of SNAP."""
    asked: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        asked.append((one, other))
        return compare(one, other)

    monkeypatch.setattr("hmac.compare_digest", watched)
    hsm = SoftwareHsm.in_memory()
    key = hsm.form(SECRET, "partner", components(INDEX_KEY))
    right, wrong = mac.hmac_sha512(INDEX_KEY)(b"request"), bytes(64)
    assert (True, False) == tuple(hsm.verify_mac(key, b"request", one) for one in (right, wrong))
    assert [(right, right), (right, wrong)] == asked
    verify = partial(hsm.verify_mac, key)
    assert not signing.verify_text(verify, b"request", wrong.hex(), signing.Encoding.HEX)
    assert (right, wrong) == asked[-1]


@pytest.fixture(scope="module")
def parsers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Parser]:
    """All of them."""
    return parsers_of_keys(tmp_path_factory.mktemp("parsers"))


PARSERS = (
    "key block D", "key block B and C", "key block header", "PIN block, verified", "PIN block, chosen",
    "PIN block, translated", "KSN, TDES", "KSN, AES", "KSN, used", "chip data", "PAN", "PIN", "sealed data", "SNAP body",
    "SNAP signature", "RSA key", "keystore file", "keystore", "master key file",
)  # fmt: skip


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=60)
@given(data=st.data())
def test_requirement_25_any_bytes_are_read_or_refused(
    parsers: dict[str, Parser], name: str, data: st.DataObject
) -> None:
    """Of no parser comes an error but the package's own, whatever comes in; and what it takes it takes afterwards as before."""
    parser = parsers[name]
    given_ = data.draw(st.binary(max_size=80) | changed(parser.taken))
    error = refusal(parser, given_)
    assert error is None or (str(error) and "\n" not in str(error))
    assert refusal(parser, parser.taken) is None


@pytest.mark.parametrize("name", PARSERS)
def test_requirement_25_no_bytes_take_long(parsers: dict[str, Parser], name: str) -> None:
    """A hundred thousand bytes of the worst kinds, which nobody sends, take less than a second each."""
    parser = parsers[name]
    assert set(PARSERS) == set(parsers)
    for piece in (*WORST, parser.taken):
        many = piece * (100_000 // len(piece))
        assert max(seconds(parser, many), seconds(parser, parser.taken[:-1] + many)) < 1

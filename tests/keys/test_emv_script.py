"""Issuer scripts: the MAC of a command, chained and counted ones, and data enciphered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyemv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import emv, emv_script, tdes
from keys.emv import SoftwareDeriver
from keys.emv_profile import profiles
from keys.errors import CardDataRefused
from keys.mac import retail
from tests.keys.samples import PAN, SECOND_KEY
from tests.keys.test_emv_profile import changed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keys.emv_profile import Profile

pyemv_warns = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
double_keys = st.binary(min_size=16, max_size=16)
atcs, arqcs = st.binary(min_size=2, max_size=2), st.binary(min_size=8, max_size=8)
HEADER = bytes.fromhex("8418000008")
ATC, ARQC = b"\x01\x2c", bytes(range(8))
MASTER = tdes.encipherer(SECOND_KEY)(emv.option_a_data(PAN))


def mac(profile: Profile, *script: bytes, atc: bytes = ATC, arqc: bytes = ARQC) -> bytes:
    """Of the last command, under SECOND_KEY."""
    return emv_script.mac(profile, emv.issuer(SECOND_KEY), PAN, "00", {"9F36": atc, "9F26": arqc}, script)


def encipher(profile: Profile, data: bytes, place: int = 0, *, atc: bytes = ATC, arqc: bytes = ARQC) -> bytes:
    """Under SECOND_KEY."""
    tags = {"9F36": atc, "9F26": arqc}
    return emv_script.encipher(profile, emv.issuer(SECOND_KEY), PAN, "00", tags, data, place)


def session(r: bytes) -> bytes:
    """The session key of R, of a card of SECOND_KEY."""
    return emv.derived_key(tdes.encipherer(MASTER), emv.session_data(r))


@pyemv_warns
@given(double_keys, atcs, arqcs, st.binary(max_size=40))
def test_macs_same_as_pyemv(key: bytes, atc: bytes, arqc: bytes, body: bytes) -> None:
    """Visa and M/Chip: session key, what is MACed, and the MAC."""
    one = (SECOND_KEY, key, key, PAN.reveal(), "00")
    for name, theirs in (
        ("visa-cvn10", pyemv.cvn.VisaCVN10(*one).generate_command_mac(HEADER, arqc, atc, body)),
        ("visa-cvn18", pyemv.cvn.VisaCVN18(*one).generate_command_mac(HEADER, arqc, atc, body)),
        ("mchip", pyemv.cvn.MasterCardCVN16(*one).generate_command_mac(HEADER, arqc, atc, body)),
        ("mchip-cvn14", pyemv.cvn.MasterCardCVN20(*one).generate_command_mac(HEADER, arqc, atc, body)),
    ):
        tags = {"9F36": atc, "9F26": arqc}
        assert theirs == emv_script.mac(profiles()[name], emv.issuer(key), PAN, "00", tags, [HEADER + body])


@pyemv_warns
@given(st.binary(min_size=1, max_size=238))
def test_data_same_as_pyemv(data: bytes) -> None:
    """Visa puts the length first, M/Chip pads what is no whole block, EMV always pads."""
    types = pyemv.sm.EncryptionType
    visa = pyemv.kd.derive_visa_sm_sk(pyemv.kd.derive_icc_mk_a(SECOND_KEY, PAN.reveal(), "00"), ATC)
    for name, key, kind in (
        ("visa-cvn18", visa, types.VISA),
        ("mchip", session(ARQC), types.MASTERCARD),
        ("nsiccs", session(ARQC), types.EMV),
    ):
        expected = pyemv.sm.encrypt_command_data(key, data, kind)
        assert expected == encipher(profiles()[name], data)
        assert 240 >= len(expected)


@pyemv_warns
@given(atcs, st.sampled_from([ARQC, b"\xff" * 8]) | arqcs, st.lists(st.binary(max_size=12), min_size=1, max_size=4))
def test_mchip_counts_its_commands_as_pyemv_says(atc: bytes, arqc: bytes, bodies: list[bytes]) -> None:
    """Each command of a script has the cryptogram one higher, in its session key and in what is MACed; then from zero again."""
    script = [HEADER + body for body in bodies]
    card = pyemv.cvn.MasterCardCVN16(SECOND_KEY, SECOND_KEY, SECOND_KEY, PAN.reveal(), "00")
    for place, body in enumerate(bodies):
        counted = ((int.from_bytes(arqc) + place) % 2**64).to_bytes(8)
        expected = card.generate_command_mac(HEADER, counted, atc, body)
        assert expected == mac(profiles()["mchip"], *script[: place + 1], atc=atc, arqc=arqc)
        secret = body or b"PIN"
        expected = card.encrypt_command_data(secret, counted)
        assert expected == encipher(profiles()["mchip"], secret, place, atc=atc, arqc=arqc)


@pyemv_warns
@given(arqcs, st.lists(st.binary(max_size=12), min_size=1, max_size=4), st.integers(4, 8))
def test_a_chain_goes_on_from_the_whole_mac_before(arqc: bytes, bodies: list[bytes], length: int) -> None:
    """However few bytes of it the card is sent. The first goes on from the ARQC."""
    profile = changed("nsiccs", script_mac="chained", script_mac_length=length)
    script = [HEADER + body for body in bodies]
    before = arqc
    for place, command in enumerate(script):
        before = pyemv.sm.generate_command_mac(session(arqc), before + command)
        assert before[:length] == mac(profile, *script[: place + 1], arqc=arqc)


@pytest.mark.parametrize("name", ["nsiccs", "visa-cvn10", "visa-cvn18"])
def test_where_nothing_is_chained_or_counted_the_commands_before_do_not_matter(name: str) -> None:
    """Nor the place of data."""
    profile = profiles()[name]
    assert mac(profile, HEADER) == mac(profile, HEADER + b"another", HEADER)
    assert encipher(profile, b"PIN") == encipher(profile, b"PIN", 3)


def test_rules_by_hand() -> None:
    """Those that no profile of ours has: a session key by ATC, the command alone, chained, counted and chained."""
    command = HEADER + b"body"

    def code(r: bytes, data: bytes) -> bytes:
        return retail(session(r), 2)(data)

    by_atc = emv.common_r(ATC)
    assert code(by_atc, HEADER + ATC + ARQC + b"body") == mac(changed("nsiccs", script_key="common-atc"), command)
    assert code(ARQC, command) == mac(changed("nsiccs", script_mac="command"), command)
    chained = code(ARQC, ARQC + command)
    assert chained == mac(changed("nsiccs", script_mac="chained"), command)
    both = changed("nsiccs", script_mac="chained", script_key="counted-arqc")
    assert code(bytes([*range(7), 8]), chained + HEADER) == mac(both, command, HEADER)


def test_padding_of_a_pin_block_by_hand() -> None:
    """ECB of a PIN block with a block 80 behind it."""
    block = bytes.fromhex("26271828FFFFFFFF")
    expected = tdes.encipherer(session(ARQC))(block + b"\x80" + bytes(7))
    assert expected == encipher(changed("nsiccs", script_mode="ECB"), block)


@pytest.mark.parametrize("name", sorted(profiles()))
@pytest.mark.parametrize(("atc", "arqc"), [(1, 8), (3, 8), (2, 7), (2, 9), (2, 0)])
def test_wrong_lengths_are_refused_before_a_key_is_derived(name: str, atc: int, arqc: int) -> None:
    """Whichever of them the profile uses."""
    tags = {"9F36": bytes(atc), "9F26": bytes(arqc)}
    issuer, reason = NoIssuer(SECOND_KEY), f"^profile {name}: a script wants tag 9F36 of 2 bytes and tag 9F26 of 8$"
    with pytest.raises(CardDataRefused, match=reason):
        emv_script.mac(profiles()[name], issuer, PAN, "00", tags, [HEADER])
    with pytest.raises(CardDataRefused, match=reason):
        emv_script.encipher(profiles()[name], issuer, PAN, "00", tags, b"PIN")


@pytest.mark.parametrize("script", [(), (HEADER[:4],), (HEADER, b""), (b"", HEADER)])
def test_every_command_has_a_header(script: Sequence[bytes]) -> None:
    """And a script has a command."""
    tags = {"9F36": ATC, "9F26": ARQC}
    with pytest.raises(CardDataRefused, match="header of 5 bytes"):
        emv_script.mac(profiles()["nsiccs"], NoIssuer(SECOND_KEY), PAN, "00", tags, script)


@pytest.mark.parametrize("length", [0, 239])
def test_data_of_other_lengths(length: int) -> None:
    """None, or too long for a command."""
    with pytest.raises(CardDataRefused, match=r"^profile nsiccs: script data have 1 to 238 bytes$"):
        encipher(profiles()["nsiccs"], bytes(length))


@pytest.mark.parametrize("tag", ["9F36", "9F26"])
def test_missing_tags_are_named(tag: str) -> None:
    """Before a key is derived."""
    tags = {"9F36": ATC, "9F26": ARQC}
    del tags[tag]
    with pytest.raises(CardDataRefused, match=f"^profile nsiccs: tag {tag}: missing$"):
        emv_script.mac(profiles()["nsiccs"], NoIssuer(SECOND_KEY), PAN, "00", tags, [HEADER])


class NoIssuer(SoftwareDeriver):
    """A key that is never asked."""

    def derive(self, data: bytes) -> SoftwareDeriver:
        """Never."""
        raise AssertionError(len(data))

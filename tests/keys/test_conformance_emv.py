"""Every back end: cryptograms of chip cards, the issuer's answers, issuer scripts, by every profile there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyemv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.emv_profile import profiles
from keys.errors import CardDataRefused, KeyRefused, KeysError
from keys.hsm import ChipAnswer
from keys.keytypes import KeyUsage
from keys.sensitive import Pan
from tests.keys.at_work import TAGS, formed
from tests.keys.backends import lacks
from tests.keys.samples import PAN, SECOND_KEY, one_line, pans
from tests.keys.test_emv_profile import ORDER, by_pyemv, changed, requests, sent_by, sequences

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keys.emv_profile import Profile
    from keys.hsm import Hsm
    from keys.keytypes import KeyHandle

pyemv_warns = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
NAMES = sorted(profiles())
HEADER, BODY = bytes.fromhex("8418000008"), b"a script"
LONG_PAN = Pan("6013010000000000019")


@pytest.fixture(scope="module")
def imk(hsm: Hsm) -> dict[KeyUsage, KeyHandle]:
    """Known issuer master keys."""
    usages = (KeyUsage.ISSUER_CRYPTOGRAM, KeyUsage.ISSUER_SCRIPT_MAC, KeyUsage.ISSUER_SCRIPT_SECRECY)
    return {usage: formed(hsm, usage, SECOND_KEY) for usage in usages}


def answer_for(profile: Profile) -> bytes:
    """What the bank decided: an authorisation response code, or a card status update."""
    return b"00" if profile.arpc_method == 1 else bytes.fromhex("00120000")


def arpc_of(name: str, pan: Pan, psn: str, tags: Mapping[str, bytes], arqc: bytes, proprietary: bytes = b"") -> bytes:
    """The issuer's answer as the pyemv package makes it."""
    one = (SECOND_KEY, SECOND_KEY, SECOND_KEY, pan.reveal(), psn)
    made: bytes
    if name == "visa-cvn18":
        made = pyemv.cvn.VisaCVN18(*one).generate_arpc(arqc, tags["9F36"], bytes.fromhex("00120000"), proprietary)
    elif name == "visa-cvn10":
        made = pyemv.cvn.VisaCVN10(*one).generate_arpc(arqc, b"00")
    elif name == "mchip":
        made = pyemv.cvn.MasterCardCVN16(*one).generate_arpc(arqc, b"00")
    else:
        session = pyemv.kd.derive_common_sk(
            pyemv.kd.derive_icc_mk_a(SECOND_KEY, pan.reveal(), psn), tags["9F36"] + bytes(6)
        )
        made = pyemv.ac.generate_arpc_1(session, arqc, b"00")
    return made


@pyemv_warns
@settings(max_examples=30)
@given(st.sampled_from(NAMES), pans, sequences, requests, st.data())
def test_cryptograms_and_answers_same_as_pyemv(
    hsm: Hsm, imk: dict[KeyUsage, KeyHandle], name: str, pan: Pan, psn: str, tags: dict[str, bytes], data: st.DataObject
) -> None:
    """Every profile, any card, any data: right with the answer of the scheme's method; one bit off is wrong, without one."""
    key, profile, tags = imk[KeyUsage.ISSUER_CRYPTOGRAM], profiles()[name], sent_by(name, tags)
    arqc = by_pyemv(name, SECOND_KEY, pan, psn, tags)
    asked = tags | {"9F26": arqc}
    expected = ChipAnswer(right=True, arpc=arpc_of(name, pan, psn, tags, arqc))
    assert expected == hsm.verify_cryptogram(profile, key, pan, psn, asked, answer_for(profile))
    bit = data.draw(st.integers(0, 63))
    wrong = asked | {"9F26": (int.from_bytes(arqc) ^ 1 << bit).to_bytes(8)}
    assert ChipAnswer(right=False, arpc=None) == hsm.verify_cryptogram(
        profile, key, pan, psn, wrong, answer_for(profile)
    )
    other = Pan(pan.reveal()[:-2] + str((int(pan.reveal()[-2]) + 1) % 10) + pan.reveal()[-1])
    assert ChipAnswer(right=False, arpc=None) == hsm.verify_cryptogram(
        profile, key, other, psn, asked, answer_for(profile)
    )


@pyemv_warns
@pytest.mark.parametrize("name", NAMES)
def test_both_methods_under_both_keys(hsm: Hsm, imk: dict[KeyUsage, KeyHandle], name: str) -> None:
    """Answers that no profile of ours has, under the session's or the card's key."""
    key, tags = imk[KeyUsage.ISSUER_CRYPTOGRAM], sent_by(name, TAGS)
    arqc = by_pyemv(name, SECOND_KEY, PAN, "00", tags)
    found = {}
    for method in (1, 2):
        for arpc_key in ("session", "master"):
            profile = changed(name, arpc_method=method, arpc_key=arpc_key)
            answer = hsm.verify_cryptogram(profile, key, PAN, "00", {**tags, "9F26": arqc}, answer_for(profile))
            assert answer.arpc is not None
            found[method, arpc_key] = answer.arpc
    assert [8, 8, 4, 4] == [len(one) for one in found.values()]
    # Where there is no session key, the card's answers for it.
    assert (4 if name != "visa-cvn10" else 2) == len(set(found.values()))


@pytest.mark.parametrize("name", NAMES)
def test_answers_of_other_lengths(hsm: Hsm, imk: dict[KeyUsage, KeyHandle], name: str) -> None:
    """An ARC has 2 bytes, a CSU 4; neither is looked at before nor forgotten for a wrong cryptogram."""
    profile, tags = profiles()[name], sent_by(name, TAGS)
    for answer in (b"", b"0", b"000", b"0" * 5, b"00" if profile.arpc_method != 1 else b"0000"):
        with pytest.raises(CardDataRefused, match=f"^profile {name}: answers by method "):
            hsm.verify_cryptogram(profile, imk[KeyUsage.ISSUER_CRYPTOGRAM], PAN, "00", tags, answer)


@pyemv_warns
@settings(max_examples=10)
@given(requests, st.binary(max_size=8))
def test_answers_with_proprietary_data_same_as_pyemv(
    hsm: Hsm, imk: dict[KeyUsage, KeyHandle], tags: dict[str, bytes], proprietary: bytes
) -> None:
    """Method 2 has up to 8 bytes of them, method 1 none."""
    key, tags = imk[KeyUsage.ISSUER_CRYPTOGRAM], sent_by("visa-cvn18", tags)
    arqc = by_pyemv("visa-cvn18", SECOND_KEY, PAN, "00", tags)
    asked, csu = tags | {"9F26": arqc}, bytes.fromhex("00120000")
    expected = ChipAnswer(right=True, arpc=arpc_of("visa-cvn18", PAN, "00", tags, arqc, proprietary))
    assert expected == hsm.verify_cryptogram(profiles()["visa-cvn18"], key, PAN, "00", asked, csu, proprietary)
    with pytest.raises(CardDataRefused, match=r"^profile visa-cvn18: answers by method 2"):
        hsm.verify_cryptogram(profiles()["visa-cvn18"], key, PAN, "00", asked, csu, bytes(9))
    with pytest.raises(CardDataRefused, match=r"^profile nsiccs: answers by method 1"):
        hsm.verify_cryptogram(profiles()["nsiccs"], key, PAN, "00", {**TAGS, "9F26": arqc}, b"00", b"x")


@pyemv_warns
@pytest.mark.parametrize("name", NAMES)
def test_a_card_of_another_version_is_refused(hsm: Hsm, imk: dict[KeyUsage, KeyHandle], name: str) -> None:
    """It is not a wrong cryptogram, even where the cryptogram would be right by this profile's rules."""
    profile, tags = profiles()[name], sent_by(name, TAGS)
    issuer_data = bytearray(tags["9F10"])
    issuer_data[profile.cvn_at] = 0x7F
    tags["9F10"] = bytes(issuer_data)
    tags["9F26"] = by_pyemv(name, SECOND_KEY, PAN, "00", tags)
    with pytest.raises(
        CardDataRefused, match=f"^profile {name}: tag 9F10: cryptogram version 7F is not of this profile$"
    ):
        hsm.verify_cryptogram(profile, imk[KeyUsage.ISSUER_CRYPTOGRAM], PAN, "00", tags, answer_for(profile))


@pyemv_warns
@pytest.mark.parametrize("name", NAMES)
def test_the_key_index_of_a_card_chooses_its_key(hsm: Hsm, name: str) -> None:
    """Two issuer master keys at work: only the one that the card names finds its cryptogram right."""
    profile = profiles()[name]
    assert profile.key_index_at is not None
    masters = {1: SECOND_KEY, 2: SECOND_KEY[::-1]}
    keys = {index: formed(hsm, KeyUsage.ISSUER_CRYPTOGRAM, key) for index, key in masters.items()}
    for index, master in masters.items():
        issuer_data = bytearray(sent_by(name, TAGS)["9F10"])
        issuer_data[profile.key_index_at] = index
        tags = {**TAGS, "9F10": bytes(issuer_data)}
        tags["9F26"] = by_pyemv(name, master, PAN, "00", tags)
        assert index == profile.key_index(tags)
        for other, key in keys.items():
            found = hsm.verify_cryptogram(profile, key, PAN, "00", tags, answer_for(profile))
            assert (other == index) is found.right


@pytest.mark.parametrize("tag", [*ORDER, "9F26"])
def test_missing_tags_are_named(hsm: Hsm, imk: dict[KeyUsage, KeyHandle], tag: str) -> None:
    """And so are those of another length; no value stands in the message."""
    profile, key = profiles()["nsiccs"], imk[KeyUsage.ISSUER_CRYPTOGRAM]
    without = {name: value for name, value in TAGS.items() if name != tag}
    with pytest.raises(CardDataRefused, match=f"^profile nsiccs: tag {tag}: missing$"):
        hsm.verify_cryptogram(profile, key, PAN, "00", without, b"00")
    with pytest.raises(CardDataRefused, match=f"^profile nsiccs: tag {tag}: must be "):
        hsm.verify_cryptogram(profile, key, PAN, "00", {**TAGS, tag: bytes(33)}, b"00")


@settings(max_examples=60)
@given(
    st.sampled_from(NAMES),
    st.dictionaries(st.sampled_from([*ORDER, "9F26", ""]) | st.text(max_size=5), st.binary(max_size=40)),
    st.booleans(),
    st.text(max_size=3) | sequences,
    st.binary(max_size=6),
    st.binary(max_size=300),
)
def test_anything_from_a_chip_is_wrong_or_refused(
    hsm: Hsm,
    backend: str,
    imk: dict[KeyUsage, KeyHandle],
    name: str,
    tags: dict[str, bytes],
    complete: bool,  # noqa: FBT001 - drawn by hypothesis
    psn: str,
    answer: bytes,
    command: bytes,
) -> None:
    """Any tags, alone or over good ones: no cryptogram is right by chance, and no error but ours, in one line."""
    profile, asked = profiles()[name], {**sent_by(name, TAGS), **tags} if complete else tags
    calls: list[Callable[[], Any]] = [
        lambda: hsm.verify_cryptogram(profile, imk[KeyUsage.ISSUER_CRYPTOGRAM], PAN, psn, asked, answer).right,
        lambda: not hsm.script_mac(profile, imk[KeyUsage.ISSUER_SCRIPT_MAC], PAN, psn, asked, command),
        lambda: not hsm.script_encipher(profile, imk[KeyUsage.ISSUER_SCRIPT_SECRECY], PAN, psn, asked, command),
    ]
    for call in calls:
        try:
            odd = call()
        except KeysError as refused:
            odd = not one_line(refused) or (isinstance(refused, KeyRefused) and not lacks(backend, "Visa script key"))
        assert not odd


@pyemv_warns
@settings(max_examples=20)
@given(
    st.sampled_from(NAMES), st.sampled_from([PAN, LONG_PAN]), sequences,
    st.binary(min_size=2, max_size=2), st.binary(min_size=8, max_size=8), st.binary(max_size=40),
)  # fmt: skip
def test_scripts_same_as_pyemv(
    hsm: Hsm,
    backend: str,
    imk: dict[KeyUsage, KeyHandle],
    name: str,
    pan: Pan,
    psn: str,
    atc: bytes,
    arqc: bytes,
    body: bytes,
) -> None:
    """The MAC of a command, and its data enciphered, by the rules of each scheme."""
    profile, tags = profiles()[name], {"9F36": atc, "9F26": arqc}
    one = (SECOND_KEY, SECOND_KEY, SECOND_KEY, pan.reveal(), psn)
    secret = body or b"PIN"
    made: list[bytes] = []

    def both() -> list[bytes]:
        return [
            hsm.script_mac(profile, imk[KeyUsage.ISSUER_SCRIPT_MAC], pan, psn, tags, HEADER + body),
            hsm.script_encipher(profile, imk[KeyUsage.ISSUER_SCRIPT_SECRECY], pan, psn, tags, secret),
        ]

    if name.startswith("visa") and lacks(backend, "Visa script key"):
        with pytest.raises(KeyRefused, match="cannot be made in a PKCS#11 token"):
            both()
        return
    if name.startswith("visa"):
        scheme = pyemv.cvn.VisaCVN18 if name == "visa-cvn18" else pyemv.cvn.VisaCVN10
        session = pyemv.kd.derive_visa_sm_sk(scheme(*one).icc_mk_smc, atc)
        made = [
            scheme(*one).generate_command_mac(HEADER, arqc, atc, body),
            pyemv.sm.encrypt_command_data(session, secret, pyemv.sm.EncryptionType.VISA),
        ]
    else:
        types = pyemv.sm.EncryptionType
        kind = types.MASTERCARD if name.startswith("mchip") else types.EMV
        session = pyemv.kd.derive_common_sk(pyemv.kd.derive_icc_mk_a(SECOND_KEY, pan.reveal(), psn), arqc)
        made = [
            pyemv.sm.generate_command_mac(session, HEADER + atc + arqc + body),
            pyemv.sm.encrypt_command_data(session, secret, kind),
        ]
    assert made == both()


@pyemv_warns
@pytest.mark.parametrize("length", [4, 8])
def test_a_chained_script_same_as_pyemv(hsm: Hsm, imk: dict[KeyUsage, KeyHandle], length: int) -> None:
    """Three commands: each MAC goes on from the whole one before, of which the card gets LENGTH bytes."""
    profile = changed("nsiccs", script_mac="chained", script_mac_length=length)
    session = pyemv.kd.derive_common_sk(pyemv.kd.derive_icc_mk_a(SECOND_KEY, PAN.reveal(), "00"), TAGS["9F26"])
    script = [HEADER + BODY, bytes.fromhex("8424000008"), bytes.fromhex("841E000008")]
    before = TAGS["9F26"]
    for place, command in enumerate(script):
        before = pyemv.sm.generate_command_mac(session, before + command)
        key = imk[KeyUsage.ISSUER_SCRIPT_MAC]
        assert before[:length] == hsm.script_mac(profile, key, PAN, "00", TAGS, command, script[:place])


@pyemv_warns
def test_a_counted_script_same_as_pyemv(hsm: Hsm, imk: dict[KeyUsage, KeyHandle]) -> None:
    """M/Chip: each command of a script has the cryptogram one higher than the one before."""
    profile, script = profiles()["mchip"], [HEADER + BODY, HEADER, HEADER + BODY]
    card = pyemv.cvn.MasterCardCVN16(SECOND_KEY, SECOND_KEY, SECOND_KEY, PAN.reveal(), "00")
    for place, command in enumerate(script):
        counted = (int.from_bytes(TAGS["9F26"]) + place).to_bytes(8)
        expected = [
            card.generate_command_mac(HEADER, counted, TAGS["9F36"], command[5:]),
            card.encrypt_command_data(BODY, counted),
        ]
        assert expected == [
            hsm.script_mac(profile, imk[KeyUsage.ISSUER_SCRIPT_MAC], PAN, "00", TAGS, command, script[:place]),
            hsm.script_encipher(profile, imk[KeyUsage.ISSUER_SCRIPT_SECRECY], PAN, "00", TAGS, BODY, place),
        ]


def test_scripts_by_the_other_rules(hsm: Hsm, imk: dict[KeyUsage, KeyHandle]) -> None:
    """A session key by ATC, the command alone, a chained MAC, a shorter MAC, ECB: as a bank's own profile may say."""
    mac_key, secrecy = imk[KeyUsage.ISSUER_SCRIPT_MAC], imk[KeyUsage.ISSUER_SCRIPT_SECRECY]
    made = {}
    for rules in (
        {},
        {"script_key": "common-atc"},
        {"script_mac": "command"},
        {"script_mac": "chained"},
        {"script_mode": "ECB"},
        {"script_padding": "length-80"},
    ):
        profile = changed("nsiccs", **rules)
        mac = hsm.script_mac(profile, mac_key, PAN, "00", TAGS, HEADER + BODY)
        made[str(rules)] = (mac, hsm.script_encipher(profile, secrecy, PAN, "00", TAGS, BODY + BODY))
        short = changed("nsiccs", **rules, script_mac_length=4)
        assert mac[:4] == hsm.script_mac(short, mac_key, PAN, "00", TAGS, HEADER + BODY)
    assert (4, 4) == (len({mac for mac, _ in made.values()}), len({data for _, data in made.values()}))


@pytest.mark.parametrize("length", [0, 1, 4])
def test_a_command_has_a_header(hsm: Hsm, imk: dict[KeyUsage, KeyHandle], length: int) -> None:
    """CLA INS P1 P2 Lc: 5 bytes."""
    with pytest.raises(CardDataRefused, match="header of 5 bytes"):
        hsm.script_mac(profiles()["nsiccs"], imk[KeyUsage.ISSUER_SCRIPT_MAC], PAN, "00", TAGS, bytes(length))
    with pytest.raises(CardDataRefused, match="header of 5 bytes"):
        hsm.script_mac(
            profiles()["nsiccs"], imk[KeyUsage.ISSUER_SCRIPT_MAC], PAN, "00", TAGS, HEADER, [HEADER, bytes(length)]
        )


def test_each_issuer_key_does_its_own(hsm: Hsm, imk: dict[KeyUsage, KeyHandle]) -> None:
    """Three keys of the same bytes, three uses: no one does another's."""
    nsiccs = profiles()["nsiccs"]
    calls: dict[KeyUsage, Callable[[KeyHandle], object]] = {
        KeyUsage.ISSUER_CRYPTOGRAM: lambda key: hsm.verify_cryptogram(nsiccs, key, PAN, "00", TAGS, b"00"),
        KeyUsage.ISSUER_SCRIPT_MAC: lambda key: hsm.script_mac(nsiccs, key, PAN, "00", TAGS, HEADER),
        KeyUsage.ISSUER_SCRIPT_SECRECY: lambda key: hsm.script_encipher(nsiccs, key, PAN, "00", TAGS, BODY),
    }
    for usage, call in calls.items():
        for other, key in imk.items():
            if other is usage:
                assert call(key) is not None
            else:
                with pytest.raises(KeyRefused, match="may not do"):
                    call(key)

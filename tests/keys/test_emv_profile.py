"""Profiles of chip cards: what they sign, verification, answers, scripts, and what a profile may not say."""

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

import pyemv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import emv, mac, tdes
from keys.emv import SoftwareDeriver
from keys.emv_profile import Profile, Verdict, profiles, read_profiles, verify
from keys.errors import CardDataRefused, KeyRefused, KeysError
from keys.sensitive import Pan
from tests.keys.samples import PAN, SECOND_KEY, one_line, pans, vectors

pyemv_warns = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
CASES = {"emv.nsiccs.arqc.1": "nsiccs", "emv.vsdc.cvn10.cck": "visa-cvn10", "emv.mchip.cvn16.cck": "mchip"}
LENGTHS = {"9F02": 6, "9F03": 6, "9F1A": 2, "95": 5, "5F2A": 2, "9A": 3, "9C": 1, "9F37": 4, "82": 2, "9F36": 2}
ORDER = (*LENGTHS, "9F10")
SIGNED_PARTS = {"visa-cvn10": range(3, 7), "mchip": range(2, 8), "mchip-cvn14": range(2, 8)}  # of tag 9F10
TEXT = resources.files("keys").joinpath("emv_profiles.toml").read_text("utf-8")

double_keys = st.binary(min_size=16, max_size=16)
sequences = st.integers(0, 99).map("{:02d}".format)
requests = st.fixed_dictionaries(
    {tag: st.binary(min_size=length, max_size=length) for tag, length in LENGTHS.items()}
    | {"9F10": st.binary(min_size=8, max_size=32)}
)
schemes = st.sampled_from(sorted(profiles()))


def chip_data(vector: dict[str, Any]) -> dict[str, bytes]:
    """The tags of a vector."""
    return {tag: bytes.fromhex(value) for tag, value in vector["inputs"]["tags"].items()}


def nsiccs() -> tuple[Profile, dict[str, bytes]]:
    """A profile and a request that fits it."""
    return profiles()["nsiccs"], chip_data(vectors("emv.nsiccs")[0])


def sent_by(name: str, tags: Mapping[str, bytes]) -> dict[str, bytes]:
    """TAGS with the cryptogram version that the profile NAME is for."""
    at, issuer_data = profiles()[name].cvn_at, bytearray(tags["9F10"])
    issuer_data[at] = profiles()[name].cvn[0]
    return {**tags, "9F10": bytes(issuer_data)}


def changed(name: str, **changes: object) -> Profile:
    """The profile NAME with CHANGES."""
    lines = [f"{key} = {_toml(value)}" for key, value in (tomllib.loads(TEXT)[name] | changes).items()]
    return read_profiles("\n".join([f"[{name}]", *lines]))[name]


def _toml(value: object) -> str:
    return str(value) if isinstance(value, int | list) else f'"{value}"'


def by_pyemv(name: str, key: bytes, pan: Pan, psn: str, tags: Mapping[str, bytes]) -> bytes:
    """The cryptogram of a scheme as the pyemv package makes it."""
    values: list[Any] = [tags[tag] for tag in ORDER]
    one = (key, SECOND_KEY, SECOND_KEY, pan.reveal(), psn)
    visa_part, mchip_part = values[-1][3:7], values[-1][2:8]
    made: bytes
    if name == "visa-cvn10":
        made = pyemv.cvn.VisaCVN10(*one).generate_ac(*[*values[:-1], visa_part])
    elif name == "visa-cvn18":
        made = pyemv.cvn.VisaCVN18(*one).generate_ac(*values)
    elif name == "mchip":
        made = pyemv.cvn.MasterCardCVN16(*one).generate_ac(*[*values[:-1], mchip_part])
    elif name == "mchip-cvn14":
        made = pyemv.cvn.MasterCardCVN20(*one).generate_ac(*[*values[:-1], mchip_part])
    else:
        master = pyemv.kd.derive_icc_mk_a(key, pan.reveal(), psn)
        session = pyemv.kd.derive_common_sk(master, tags["9F36"] + bytes(6))
        made = pyemv.ac.generate_ac(session, b"".join(values))
    return made


@pytest.mark.parametrize("name", CASES)
def test_vectors(name: str) -> None:
    """A test card of each scheme; one bit more or less is not its cryptogram."""
    vector = vectors(name)[0]
    given_ = vector["inputs"]
    profile, issuer = profiles()[CASES[name]], emv.issuer(bytes.fromhex(given_["imk_ac"]))
    pan, tags, arqc = Pan(given_["pan"]), chip_data(vector), bytes.fromhex(vector["expected"]["arqc"])
    atc = int(given_["tags"]["9F36"], 16)
    assert Verdict(ok=True, arpc=None, atc=atc) == verify(profile, issuer, pan, given_["psn"], tags, arqc)
    for place in range(8):
        wrong = bytes(byte ^ (at == place) for at, byte in enumerate(arqc))
        assert not verify(profile, issuer, pan, given_["psn"], tags, wrong).ok


@pytest.mark.parametrize("name", CASES)
def test_versions_and_key_indexes_of_vectors(name: str) -> None:
    """They stand where the profile says: version 1 of NSICCS, 10 of Visa, 16 of M/Chip; all three of key index 1."""
    profile, tags = profiles()[CASES[name]], chip_data(vectors(name)[0])
    assert {"nsiccs": (1,), "visa-cvn10": (10,), "mchip": (16,)}[CASES[name]] == profile.cvn
    assert profile.cvn[0] == tags["9F10"][profile.cvn_at]
    assert 1 == profile.key_index(tags)


@given(schemes, requests, st.integers(0, 255))
def test_cards_of_other_versions_are_refused(name: str, tags: dict[str, bytes], cvn: int) -> None:
    """It is no wrong cryptogram: the message names tag and version. And no key is derived."""
    profile = profiles()[name]
    issuer_data = bytearray(tags["9F10"])
    issuer_data[profile.cvn_at] = cvn
    sent = tags | {"9F10": bytes(issuer_data)}
    if cvn in profile.cvn:
        assert sent["9F36"] == profile.read(sent).atc
        return

    class NoIssuer(SoftwareDeriver):
        """A key that is never asked."""

        def derive(self, data: bytes) -> SoftwareDeriver:
            """Never."""
            raise AssertionError(len(data))

    with pytest.raises(CardDataRefused) as caught:
        verify(profile, NoIssuer(SECOND_KEY), PAN, "00", sent, bytes(8))
    assert f"profile {name}: tag 9F10: cryptogram version {cvn:02X} is not of this profile" == str(caught.value)


@given(schemes, st.binary(max_size=32))
def test_whose_version_a_tag_tells(name: str, issuer_data: bytes) -> None:
    """A profile knows what it would read, whatever else is missing; a tag that does not reach there is nobody's."""
    profile, tags = profiles()[name], {"9F10": issuer_data}
    at = profile.cvn_at
    assert profile.knows(tags) is (issuer_data[at : at + 1] in [bytes([cvn]) for cvn in profile.cvn])
    assert profile.knows(sent_by(name, {"9F10": issuer_data.ljust(8)}))
    assert not profile.knows({})


def test_a_profile_may_be_for_several_versions() -> None:
    """Each of them passes, and no other."""
    tags = nsiccs()[1]
    profile = changed("nsiccs", cvn=[1, 0x12])
    for cvn in (1, 0x12):
        profile.read(tags | {"9F10": bytes([1, cvn])})
    with pytest.raises(CardDataRefused, match="version 02 is not"):
        profile.read(tags | {"9F10": bytes([1, 2])})


@given(schemes, requests)
def test_key_indexes(name: str, tags: dict[str, bytes]) -> None:
    """A byte of tag 9F10; None of a scheme that has none; a tag too short for it is refused by name."""
    place = profiles()[name].key_index_at
    assert place is not None
    assert tags["9F10"][place] == profiles()[name].key_index(tags)
    assert changed(name, key_index_at="none").key_index({}) is None
    with pytest.raises(CardDataRefused, match=f"^profile {name}: tag 9F10: missing$"):
        profiles()[name].key_index({})
    with pytest.raises(CardDataRefused, match=f"^profile {name}: tag 9F10: does not reach to its key index$"):
        profiles()[name].key_index({"9F10": tags["9F10"][:place]})


@pyemv_warns
@given(schemes, double_keys, pans, sequences, requests)
def test_cryptograms_same_as_pyemv(name: str, key: bytes, pan: Pan, psn: str, tags: dict[str, bytes]) -> None:
    """Every scheme, every card, any data; and more tags than it needs do no harm."""
    tags = sent_by(name, tags)
    arqc = by_pyemv(name, key, pan, psn, tags)
    verdict = verify(profiles()[name], emv.issuer(key), pan, psn, tags | {"9F33": b"\x00"}, arqc)
    assert Verdict(ok=True, arpc=None, atc=int.from_bytes(tags["9F36"])) == verdict


@pyemv_warns
@given(schemes, requests, st.sampled_from(ORDER), st.data())
def test_every_bit_of_what_is_signed_counts(name: str, tags: dict[str, bytes], tag: str, data: st.DataObject) -> None:
    """A changed byte makes another cryptogram, unless it stands in a part of 9F10 that the scheme does not sign.

    Another cryptogram version is refused before.
    """
    profile, tags = profiles()[name], sent_by(name, tags)
    arqc = by_pyemv(name, SECOND_KEY, PAN, "00", tags)
    place = data.draw(st.integers(0, len(tags[tag]) - 1))
    other = bytearray(tags[tag])
    other[place] ^= data.draw(st.integers(1, 255))
    asked = (profile, emv.issuer(SECOND_KEY), PAN, "00", tags | {tag: bytes(other)}, arqc)
    if (tag, place) == ("9F10", profile.cvn_at):
        with pytest.raises(CardDataRefused, match=r"tag 9F10: cryptogram version .. is not of this profile"):
            verify(*asked)
        return
    signed = tag != "9F10" or place in SIGNED_PARTS.get(name, range(32))
    assert signed is not verify(*asked).ok


@pyemv_warns
@given(schemes, double_keys, requests, st.binary(min_size=2, max_size=2), st.binary(min_size=4, max_size=4))
def test_answers_same_as_pyemv(name: str, key: bytes, tags: dict[str, bytes], arc: bytes, csu: bytes) -> None:
    """Method 1 under the session or the card's key, method 2 under the session key."""
    profile, tags = profiles()[name], sent_by(name, tags)
    arqc = by_pyemv(name, key, PAN, "00", tags)
    one = (key, SECOND_KEY, SECOND_KEY, PAN.reveal(), "00")
    if name == "visa-cvn18":
        expected = pyemv.cvn.VisaCVN18(*one).generate_arpc(arqc, tags["9F36"], csu, b"abc")
        verdict = verify(profile, emv.issuer(key), PAN, "00", tags, arqc, csu, b"abc")
    else:
        expected = (
            pyemv.cvn.VisaCVN10(*one).generate_arpc(arqc, arc)
            if name == "visa-cvn10"
            else pyemv.cvn.MasterCardCVN16(*one).generate_arpc(arqc, arc)
            if name == "mchip"
            else pyemv.cvn.MasterCardCVN20(*one).generate_arpc(arqc, tags["9F36"], arc)
        )
        verdict = verify(profile, emv.issuer(key), PAN, "00", tags, arqc, arc)
    assert (True, expected) == (verdict.ok, verdict.arpc)


def test_a_master_key_may_answer_by_method_2() -> None:
    """The pair that no profile of ours has."""
    profile, tags = changed("visa-cvn18", arpc_key="master"), sent_by("visa-cvn18", nsiccs()[1])
    master = emv.derived_key(tdes.encipherer(SECOND_KEY), emv.option_a_data(PAN))
    arqc = _cryptogram(profile, tags)
    expected = emv.arpc_2(SoftwareDeriver(master), arqc, bytes(4))
    assert expected == verify(profile, emv.issuer(SECOND_KEY), PAN, "00", tags, arqc, bytes(4)).arpc


def _cryptogram(profile: Profile, tags: dict[str, bytes]) -> bytes:
    """By the parts, key by key."""
    signed = profile.read(tags)
    key = emv.derived_key(tdes.encipherer(SECOND_KEY), profile.master_data(PAN))
    if signed.r is not None:
        key = emv.derived_key(tdes.encipherer(key), emv.session_data(signed.r))
    return mac.retail(key, profile.padding)(signed.data)


@pytest.mark.parametrize("name", sorted(profiles()))
def test_parts_make_the_same(name: str) -> None:
    """What `Profile.read` tells a token to do is what `verify` does."""
    profile, tags = profiles()[name], sent_by(name, nsiccs()[1])
    assert verify(profile, emv.issuer(SECOND_KEY), PAN, "00", tags, _cryptogram(profile, tags)).ok


def test_a_wrong_cryptogram_gets_no_answer() -> None:
    """An ARPC would tell a card that its issuer is there."""
    profile, tags = nsiccs()
    assert Verdict(ok=False, arpc=None, atc=300) == verify(
        profile, emv.issuer(SECOND_KEY), PAN, "00", tags, bytes(8), b"00"
    )


@pytest.mark.parametrize("tag", ORDER)
def test_missing_tags_and_wrong_lengths(tag: str) -> None:
    """The error names profile and tag, and holds no value."""
    profile, tags = nsiccs()
    issuer = emv.issuer(SECOND_KEY)
    with pytest.raises(CardDataRefused, match=f"^profile nsiccs: tag {tag}: missing$"):
        verify(profile, issuer, PAN, "00", {key: value for key, value in tags.items() if key != tag}, bytes(8))
    for value in (b"", tags[tag] + bytes(5)):
        with pytest.raises(CardDataRefused, match=f"^profile nsiccs: tag {tag}: must be [0-9]+( to 32)? bytes$"):
            verify(profile, issuer, PAN, "00", tags | {tag: value}, bytes(8))


@pytest.mark.parametrize(("name", "least"), [("nsiccs", 2), ("visa-cvn10", 7), ("visa-cvn18", 3), ("mchip", 8)])
def test_issuer_data_reach_as_far_as_they_are_needed(name: str, least: int) -> None:
    """To the version and to the part that is signed."""
    profile, tags = profiles()[name], nsiccs()[1]
    profile.read(sent_by(name, tags | {"9F10": bytes(least)}))
    with pytest.raises(CardDataRefused, match=f"tag 9F10: must be {least} to 32 bytes"):
        profile.read(tags | {"9F10": bytes(least - 1)})


@pytest.mark.parametrize("length", [0, 4, 7, 9])
def test_cryptograms_have_eight_bytes(length: int) -> None:
    """A part of a cryptogram is not one."""
    profile, tags = nsiccs()
    with pytest.raises(CardDataRefused, match=r"^profile nsiccs: tag 9F26: must be 8 bytes$"):
        verify(profile, emv.issuer(SECOND_KEY), PAN, "00", tags, bytes(length))


@pytest.mark.parametrize(
    ("name", "answer", "proprietary"),
    [
        ("nsiccs", 4, 0), ("nsiccs", 3, 0), ("nsiccs", 0, 0), ("nsiccs", 2, 1),
        ("visa-cvn18", 2, 0), ("visa-cvn18", 0, 0), ("visa-cvn18", 5, 0), ("visa-cvn18", 4, 9),
    ],
)  # fmt: skip
def test_answers_that_are_not_the_profiles(name: str, answer: int, proprietary: int) -> None:
    """They are refused whether the cryptogram is right or not."""
    tags = sent_by(name, nsiccs()[1])
    with pytest.raises(CardDataRefused, match=f"^profile {name}: answers by method "):
        verify(profiles()[name], emv.issuer(SECOND_KEY), PAN, "00", tags, bytes(8), bytes(answer), bytes(proprietary))


@given(
    schemes,
    st.dictionaries(st.sampled_from([*ORDER, "9F26", ""]) | st.text(max_size=5), st.binary(max_size=40)),
    st.booleans(),
    st.text(max_size=3) | sequences,
    st.binary(max_size=9),
    st.none() | st.binary(max_size=9),
    st.binary(max_size=9),
)
def test_anything_is_verified_or_refused(
    name: str,
    tags: dict[str, bytes],
    complete: bool,  # noqa: FBT001 - drawn by hypothesis
    psn: str,
    arqc: bytes,
    answer: bytes | None,
    proprietary: bytes,
) -> None:
    """Any tags, alone or over good ones: false, or an error of ours in one line."""
    try:
        asked = sent_by(name, nsiccs()[1]) | tags if complete else tags
        verdict = verify(profiles()[name], emv.issuer(SECOND_KEY), PAN, psn, asked, arqc, answer, proprietary)
    except KeysError as refused:
        error: KeysError | None = refused
    else:
        error = None
        assert (False, None) == (verdict.ok, verdict.arpc)
    assert error is None or one_line(error)


def test_the_profiles_there_are() -> None:
    """Five; what nobody has published about NSICCS is marked."""
    assert {"nsiccs", "visa-cvn10", "visa-cvn18", "mchip", "mchip-cvn14"} == set(profiles())
    unsure = {name: set(profile.to_be_confirmed) for name, profile in profiles().items() if profile.to_be_confirmed}
    assert {"nsiccs"} == set(unsure)
    assert {
        "cvn",
        "cvn_at",
        "key_index_at",
        "arpc_method",
        "arpc_key",
        "script_key",
        "script_mac",
        "script_mode",
        "script_padding",
    } <= unsure["nsiccs"]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("master_key", "C", "must be one of A, B"),
        ("master_key", 1, "must be one of A, B"),
        ("session_key", "tree", "must be one of none, common, mchip"),
        ("padding", "81", "must be one of 80, 00"),
        ("padding", 80, "must be one of 80, 00"),
        ("cvn_at", -1, "must be a whole number from 0 to 31"),
        ("cvn_at", 32, "must be a whole number from 0 to 31"),
        ("cvn_at", "1", "must be a whole number from 0 to 31"),
        ("cvn", 1, "must be a list of numbers, one or more"),
        ("cvn", [], "must be a list of numbers, one or more"),
        ("cvn", [1, 256], "must be a whole number from 0 to 255"),
        ("cvn", ["01"], "must be a whole number from 0 to 255"),
        ("key_index_at", 32, "must be a whole number from 0 to 31"),
        ("key_index_at", "nowhere", "must be a whole number from 0 to 31"),
        ("arpc_method", 3, "must be a whole number from 1 to 2"),
        ("script_mac_length", 3, "must be a whole number from 4 to 8"),
        ("script_mac_length", 9, "must be a whole number from 4 to 8"),
        ("to_be_confirmed", ["arpc"], "must name keys of a profile"),
        ("to_be_confirmed", ["name"], "must name keys of a profile"),
        ("to_be_confirmed", "padding", "must be a list of texts"),
        ("data", "9F36", "must be a list of texts"),
        ("data", [1], "must be a list of texts"),
        ("data", [], "must hold 9F36 whole, and 9F10 or a part of it"),
        ("data", ["9F36"], "must hold 9F36 whole, and 9F10 or a part of it"),
        ("data", ["9F36[0:1]", "9F10"], "must hold 9F36 whole, and 9F10 or a part of it"),
        ("data", ["9F36", "9F36", "9F10"], "names a tag twice"),
        ("data", ["9F36", "9F10[1:2]", "9F10"], "names a tag twice"),
        ("data", ["9F10", "9F36"], "only the last may be a tag without a fixed length"),
        ("data", ["DF01", "9F36", "9F10"], "only the last may be a tag without a fixed length"),
        ("data", ["9f36", "9F10"], "bad tag: must be like 9F02 or 9F10[3:7]"),
        ("data", ["9F36", "9F"], "bad tag: must be like 9F02 or 9F10[3:7]"),
        ("data", ["9F36", "9F10[3]"], "bad tag: must be like 9F02 or 9F10[3:7]"),
        ("data", ["9F36", "9F10[-3:7]"], "bad tag: must be like 9F02 or 9F10[3:7]"),
        ("data", ["9F36", "9F10[3:7]x"], "bad tag: must be like 9F02 or 9F10[3:7]"),
        ("data", ["9F36", "9F10[7:7]"], "bad slice of 9F10: must be within its 32 bytes, and not empty"),
        ("data", ["9F36", "9F10[3:33]"], "bad slice of 9F10: must be within its 32 bytes, and not empty"),
        ("data", ["9F36", "9F10", "95[0:6]"], "bad slice of 95: must be within its 5 bytes, and not empty"),
    ],
)
def test_a_profile_says_nothing_wrong(key: str, value: object, reason: str) -> None:
    """The error names profile, key and what it must be."""
    with pytest.raises(KeyRefused, match=f"^{re.escape(f'EMV profile nsiccs: {key}: {reason}')}$"):
        changed("nsiccs", **{key: value})


def test_a_boolean_is_no_number() -> None:
    """Though Python takes it for one."""
    with pytest.raises(KeyRefused, match=r"^EMV profile mchip: arpc_method: must be a whole number"):
        read_profiles(TEXT[TEXT.index("[mchip]") :].replace("arpc_method = 1", "arpc_method = true"))


@pytest.mark.parametrize("key", sorted(tomllib.loads(TEXT)["mchip"]))
def test_a_profile_is_whole(key: str) -> None:
    """No key has a default, and none is taken that nobody reads."""
    lines = [line for line in TEXT[TEXT.index("[mchip]") :].splitlines() if not line.startswith(f"{key} =")]
    with pytest.raises(KeyRefused, match=f"^EMV profile mchip: {key}: missing$"):
        read_profiles("\n".join(lines))
    with pytest.raises(KeyRefused, match=f"^EMV profile mchip: '{key}s': unknown key$"):
        read_profiles(f"{TEXT}\n{key}s = 1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "EMV profiles: there is none"),
        ("[", "EMV profiles: not TOML"),
        ("a = " + "[" * 100_000, "EMV profiles: not TOML"),
        ("nsiccs = 1", "EMV profile nsiccs: must be a table"),
        ('["a\\nb"]', "EMV profiles: a name has 1 to 32 lower case letters, digits and -"),
        ('[a]\n"b\\nc" = 1', "EMV profile a: 'b\\nc': unknown key"),
    ],
)
def test_files_that_are_no_profiles(text: str, reason: str) -> None:
    """One line, whatever is in the file."""
    with pytest.raises(KeyRefused) as caught:
        read_profiles(text)
    assert reason == str(caught.value)


def test_mchip_needs_the_unpredictable_number() -> None:
    """Its session key is made of it."""
    for data in (["9F36", "9F10[2:8]"], ["9F37[0:2]", "9F36", "9F10[2:8]"]):
        with pytest.raises(KeyRefused, match=r"^EMV profile mchip: data: must hold 9F37 whole for this session key$"):
            changed("mchip", data=data)


@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda some: TEXT + some.decode("latin-1")))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No other error, and one line of it."""
    try:
        assert read_profiles(text)
    except KeyRefused as refused:
        error = refused
    else:
        return
    assert one_line(error)

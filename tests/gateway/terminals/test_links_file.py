"""Tests of gateway.terminals.links_file: the file of links is right as a whole or refused in one line."""

from __future__ import annotations

from datetime import time
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from gateway.errors import SettingsError
from gateway.rules.authorise import DeclineReason
from gateway.terminals.links_file import DEFAULT_FILE, Links, read_links
from gateway.terminals.profile import Link

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = DEFAULT_FILE.read_text(encoding="utf-8")


def test_the_shipped_link() -> None:
    """Acquirer 000002, himbara, two decimals, a code of two characters for every reason; 00 is for approvals and advices."""
    link = read_links(None).first
    assert ("himbara", "000002", 2, True) == (link.name, link.acquirer, link.amount_exponent, link.sign_on_required)
    assert set(DeclineReason) == set(link.response_codes)
    advised = [DeclineReason.ADVICE_DECLINED, DeclineReason.ADVICE_NOT_SERVED]
    assert [*advised, DeclineReason.APPROVED] == [
        reason for reason, code in link.response_codes.items() if code == "00"
    ]
    assert 4096 == link.framing.max_length


def test_advices_are_accepted() -> None:
    """Whatever is the matter: but where another message has its key, it cannot be read, or nothing was decided."""
    link = read_links(None).first
    refused = {reason: code for reason, code in link.advice_codes.items() if code != "00"}
    R = DeclineReason  # noqa: N806 - as in the tests of the rules
    assert {R.KEY_REUSED: "94", R.ADVICE_UNREADABLE: "30", R.OVERLOAD: "91", R.SYSTEM_ERROR: "96"} == refused


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('APPROVED = "00"\n', "", "no response code for APPROVED"),
        ('"51"', '"5"', "two letters or digits"),
        ('APPROVED = "00"', 'APPROVED = "00"\nSOMETHING = "01"', "SOMETHING"),
        ('name = "himbara"', 'name = "Him Bara"', "name"),
        ('acquirer = "000002"', 'acquirer = "two"', "acquirer"),
        ('dialect = "himbara"', 'dialect = "martian"', "there is no dialect martian"),
        ("largest_frame = 4096", "largest_frame = 99999", "largest_frame"),
        ("amount_exponent = 2", "amount_exponent = 3", "amount_exponent"),
        ('mac = "off"', 'mac = "off"\nsurprise = 1', "surprise"),
        ("[[link]]", "[[link", "line"),
        ('pin_key = "zpk-himbara"\n', "", "pin_key"),
        ('mac = "off"', 'mac = "off"\nkey_fields = [7, 11]', "key_fields"),
        ('mac = "off"', 'mac = "off"\nkey_fields = [7, 11, 32, 39]', "key_fields"),
    ],
)
def test_a_wrong_link_is_refused_in_one_line(tmp_path: Path, old: str, new: str, word: str) -> None:
    """The line names the setting, the file and the place."""
    path = tmp_path / "links.toml"
    assert old in SHIPPED
    path.write_text(SHIPPED.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SettingsError) as error:
        read_links(path)
    line = str(error.value)
    assert line.startswith(f"setting KKS_LINKS_FILE: {path}: ")
    assert word in line
    assert "\n" not in line


def test_a_missing_or_unreadable_file(tmp_path: Path) -> None:
    """A file that is not there, a folder, and bytes that are no text are one line each."""
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.toml", tmp_path, binary):
        with pytest.raises(SettingsError, match="setting KKS_LINKS_FILE: ") as error:
            read_links(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "expected"), [('"23:00"', time(23)), ("22:30:00", time(22, 30)), ('"00:00"', time(0))]
)
def test_a_cut_over(tmp_path: Path, line: str, expected: time) -> None:
    """A text or a TOML time of Jakarta's wall clock; the shipped link has none."""
    assert read_links(None).first.cut_over is None
    path = tmp_path / "links.toml"
    path.write_text(
        SHIPPED.replace("sign_on_required = true", f"sign_on_required = true\ncut_over = {line}"), encoding="utf-8"
    )
    assert expected == read_links(path).first.cut_over


@pytest.mark.parametrize(
    "line", ['"24:00"', '"23:00+07:00"', '"23:00:30"', "23:00:30", "82800", '"evening"', "true", '"9:00"']
)
def test_a_wrong_cut_over_is_refused(tmp_path: Path, line: str) -> None:
    """Whole minutes without a zone, nothing else; one line that names the place."""
    path = tmp_path / "links.toml"
    path.write_text(
        SHIPPED.replace("sign_on_required = true", f"sign_on_required = true\ncut_over = {line}"), encoding="utf-8"
    )
    with pytest.raises(SettingsError, match=r"link\.0\.cut_over: ") as error:
        read_links(path)
    assert "\n" not in str(error.value)


def test_files_of_tls_lie_beside_the_file(tmp_path: Path) -> None:
    """A relative path is relative to the file that names it; an absolute one stays."""
    path = tmp_path / "links.toml"
    path.write_text(
        SHIPPED + '[link.tls]\ncertificate = "a.pem"\nkey = "/b/c.pem"\nauthority = "d/e.pem"\n', encoding="utf-8"
    )
    tls = read_links(path).link[-1].tls
    assert tls is not None
    assert (tmp_path / "a.pem", "/b/c.pem", tmp_path / "d/e.pem") == (tls.certificate, str(tls.key), tls.authority)


@pytest.mark.parametrize("text", ["link = 1", "link = [1]", '[[link]]\ntls = "no"', "[[link]]\n[link.tls]\nkey = 1"])
def test_tables_of_another_shape_are_refused(tmp_path: Path, text: str) -> None:
    """In one line, whatever stands there."""
    path = tmp_path / "links.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match="setting KKS_LINKS_FILE: ") as error:
        read_links(path)
    assert "\n" not in str(error.value)


def test_the_shipped_terminals() -> None:
    """Binary, behind a TPDU, DUKPT, one port further; the codes of both links stand in one table."""
    first, edc, _ = read_links(None).link
    assert ("edc", "binary2", "tpdu", "dukpt", 1) == (
        edc.wire.name,
        edc.frame,
        edc.header,
        edc.pin_scheme,
        edc.port_offset,
    )
    assert bytes.fromhex("6000030000") == edc.framing.header
    assert first.response_codes == edc.response_codes


def test_the_shipped_link_of_trials() -> None:
    """Wants all that a link can want, shares no key that changes, and is not missed where its keys are not there."""
    *others, chip = read_links(None).link
    assert (True, "required", "required", "required", 300) == (
        chip.trial, chip.mac, chip.chip, chip.stripe_value, chip.freshness_s,
    )  # fmt: skip
    assert "zmk-chip" == chip.zone_master_key
    assert [False, False] == [link.trial for link in others]
    assert others[0].response_codes == chip.response_codes


def test_codes_of_all_links_and_of_one(tmp_path: Path) -> None:
    """What a link says itself goes before what all are told."""
    path = tmp_path / "links.toml"
    path.write_text(SHIPPED + '[link.response_codes]\nCARD_UNKNOWN = "56"\n', encoding="utf-8")
    codes = [link.response_codes[DeclineReason.CARD_UNKNOWN] for link in read_links(path).link]
    assert ["14", "14", "56"] == codes


OWN = """
[[dialect]]
name = "bank-a"
base = "himbara"
bitmap = "raw"
remove = [71]
[dialect.fields.52]
encoding = "raw"
"""


def test_a_dialect_of_its_own(tmp_path: Path) -> None:
    """Derived in the file; a second may be derived from the first; the wire of two profiles is compared by content."""
    path = tmp_path / "links.toml"
    second = '[[dialect]]\nname = "bank-b"\nbase = "bank-a"\nremove = [72]\n'
    path.write_text(OWN + second + SHIPPED.replace('dialect = "himbara"', 'dialect = "bank-b"'), encoding="utf-8")
    link = read_links(path).first
    assert ("bank-b", "raw", False, False) == (
        link.wire.name, link.wire.bitmap.value, 71 in link.wire.by_number, 72 in link.wire.by_number,
    )  # fmt: skip
    assert link.same_wire(read_links(path).first)
    path.write_text(path.read_text(encoding="utf-8").replace("[72]", "[73]"), encoding="utf-8")
    assert not link.same_wire(read_links(path).first)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "bank-a"', 'name = "himbara"', "dialect himbara: there is one of that name already"),
        ('name = "bank-a"', 'name = "Bank A"', "a name has 1 to 40 small letters"),
        ('name = "bank-a"\n', "", "a name has 1 to 40 small letters"),
        ('base = "himbara"', 'base = "bank-b"', "dialect bank-a: base: there is no dialect 'bank-b' before it"),
        ('bitmap = "raw"', 'bitmap = "octal"', "dialect bank-a: bitmap must be"),
        ('bitmap = "raw"', "surprise = 1", "dialect bank-a: there is no setting surprise"),
        ("remove = [71]", "remove = [7]", "link.0: Value error, field 7 is not in dialect bank-a"),
        ("[[dialect]]", "[dialect]", "must be"),
    ],
)
def test_a_wrong_dialect_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    """In one line that names it, also where a link's settings name a field that it lacks."""
    path = tmp_path / "links.toml"
    text = OWN + SHIPPED.replace('dialect = "himbara"', 'dialect = "bank-a"')
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SettingsError, match="setting KKS_LINKS_FILE: ") as error:
        read_links(path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_key_that_one_partner_changes_is_no_other_s(tmp_path: Path) -> None:
    """Neither its PIN key nor its MAC key; two links that change nothing may share."""
    path = tmp_path / "links.toml"
    one = Link.model_validate(read_links(None).first.model_dump(exclude_defaults=True))
    twin = one.model_copy(update={"name": "twin", "port_offset": 5})
    assert 2 == len(Links(link=(one, twin)).link)
    changing = one.model_copy(update={"zone_master_key": "zmk"})
    with pytest.raises(
        ValidationError, match="link himbara changes its keys over the line and shares zpk-himbara with twin"
    ):
        Links(link=(changing, twin))
    path.write_text(
        SHIPPED.replace('pin_key = "bdk-edc"', 'pin_key = "zpk-himbara"\nzone_master_key = "zmk"').replace(
            'pin_scheme = "dukpt"\n', ""
        )
    )
    with pytest.raises(SettingsError, match="link edc changes its keys over the line"):
        read_links(path)

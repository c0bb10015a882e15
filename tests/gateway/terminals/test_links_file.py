"""Tests of gateway.terminals.links_file: the file of links is right as a whole or refused in one line."""

from __future__ import annotations

from datetime import time
from typing import TYPE_CHECKING

import pytest

from gateway.errors import SettingsError
from gateway.rules.authorise import DeclineReason
from gateway.terminals.links_file import DEFAULT_FILE, read_links

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
        ('dialect = "himbara"', 'dialect = "edc"', "dialect"),
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

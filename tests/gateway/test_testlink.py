"""Tests of gateway.testlink."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

from gateway import testlink
from gateway.errors import Refused
from gateway.terminals.links_file import DEFAULT_FILE, read_links
from gateway.terminals.needed_keys import lacking
from keys.keytypes import Algorithm, KeySpec, KeyUsage
from keys.software import SoftwareHsm

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank


async def test_bank_and_simulator_form_the_same_key(bank: Bank) -> None:
    """The components in the file form the key of the bank's keystore; the file is for its owner alone; it is made once."""
    path = testlink.ensure_test_link(bank)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    label, components = testlink.read_test_key(bank.settings.data_dir)
    formed = SoftwareHsm.in_memory().form(KeyUsage.PIN_ENCRYPTION, label, components)
    assert bank.hsm.find(label).kcv == formed.kcv
    before = path.read_bytes()
    assert path == testlink.ensure_test_link(bank)
    assert before == path.read_bytes()


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The line says what makes the file."""
    with pytest.raises(Refused, match=r"test-zpk\.json: No such file or directory: `kks demo`"):
        testlink.read_test_key(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"label": "x", "components": ["zz"]}', '{"label": "x", "components": 1}']
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    """The line shows nothing of what is in it."""
    path = testlink.test_key_path(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(Refused, match=r"test-zpk\.json: is not a file of key components$"):
        testlink.read_test_key(tmp_path)


async def test_every_key_of_every_link(bank: Bank, tmp_path: Path) -> None:
    """Each of the kind its profile asks for, from components that are in the file; a key that comes later is added to it."""
    text = DEFAULT_FILE.read_text(encoding="utf-8")
    links = tmp_path / "links.toml"
    links.write_text(text, encoding="utf-8")
    bank.settings = bank.settings.model_copy(update={"links_file": links})
    testlink.ensure_test_link(bank)
    path = testlink.test_keys_path(bank.settings.data_dir)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    first = json.loads(path.read_text(encoding="utf-8"))
    assert [
        ("himbara", "zpk-himbara", "zpk"), ("edc", "bdk-edc", "bdk"), ("chip", "zpk-chip", "zpk"), ("chip", "mac-chip", "mac"),
        ("chip", "imk-ac", "imk-ac"), ("chip", "cvk", "cvk"), ("chip", "zmk-chip", "zmk"),
    ] == [(one["link"], one["label"], one["kind"]) for one in first]  # fmt: skip
    more = 'mac = "required"\nmac_key = "zak"\nchip = "optional"\nchip_key = "imk-2"\nzone_master_key = "zmk"'
    more += '\nchip_scripts = ["block"]'
    links.write_text(text.replace('mac = "off"', more), encoding="utf-8")
    testlink.ensure_test_link(bank)
    found = json.loads(path.read_text(encoding="utf-8"))
    assert (first, ["mac", "imk-ac", "imk-smi", "zmk"]) == (found[:7], [one["kind"] for one in found[7:]])
    assert [None] * 3 == [lacking(link, bank.hsm) for link in read_links(links).link]
    for one in found:
        parts = [bytes.fromhex(part) for part in one["components"]]
        info = bank.hsm.info(bank.hsm.find(one["label"]))
        assert info.algorithm.value == one["algorithm"]
        formed = SoftwareHsm.in_memory().form(KeySpec(info.usage, algorithm=info.algorithm), "x", parts)
        assert bank.hsm.find(one["label"]).kcv == formed.kcv


async def test_a_link_of_aes_pin_blocks(bank: Bank, tmp_path: Path) -> None:
    """ISO 9564-1 format 4 wants an AES key."""
    links = tmp_path / "links.toml"
    text = DEFAULT_FILE.read_text(encoding="utf-8")
    long_blocks = 'pin_key = "aes"\npin_format = 4\npin_block_field = 63'
    links.write_text(text.replace('pin_key = "zpk-himbara"', long_blocks), encoding="utf-8")
    bank.settings = bank.settings.model_copy(update={"links_file": links})
    testlink.ensure_test_link(bank)
    assert Algorithm.AES is bank.hsm.info(bank.hsm.find("aes")).algorithm

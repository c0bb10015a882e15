"""Tests of gateway.testlink."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from gateway import testlink
from gateway.errors import Refused
from keys.keytypes import KeyUsage
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

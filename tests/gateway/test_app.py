"""Tests of gateway.app."""

from __future__ import annotations

import asyncio
import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from gateway.app import open_bank, open_keystore, run_service
from gateway.errors import GatewayError, Refused, SettingsError
from gateway.jobs.catalogue import JOBS
from gateway.operations import proof
from gateway.operations.custody import BANK_KEYS, custody_of
from gateway.operations.links import note_link_event
from gateway.testlink import ensure_test_link
from tests.gateway.owner import one_value

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.settings import Settings


async def test_a_bank_is_opened_again_with_its_keys(bank_settings: Settings) -> None:
    """What one process wrote holds for the next: the same keys, the same bank row."""
    async with open_bank(bank_settings) as first:
        await note_link_event(first, "himbara", "sign-on")
        sealed = first.vault.seal("secret", table="family", row=1, column="nik")
        row = first.row
    async with open_bank(bank_settings) as second:
        assert row == second.row
        assert "secret" == second.vault.open(sealed, table="family", row=1, column="nik")
        assert all(check.ok for check in await proof.verify_audit(second))


async def test_a_lost_keystore_is_never_replaced_by_a_new_one(bank_settings: Settings) -> None:
    """A bank with data does not start without its keys, at the second try neither."""
    async with open_bank(bank_settings) as bank:
        await note_link_event(bank, "himbara", "sign-on")
    shutil.move(
        custody_of(bank_settings).place.keystore, custody_of(bank_settings).place.keystore.with_name("away.json")
    )
    for _ in range(2):
        with pytest.raises(Refused, match=r"the database has data and .* does not exist: restore the keystore"):
            await _open(bank_settings)
    shutil.move(
        custody_of(bank_settings).place.keystore.with_name("away.json"), custody_of(bank_settings).place.keystore
    )
    await _open(bank_settings)


async def test_another_setup_or_master_key_is_refused(bank_settings: Settings, tmp_path: Path) -> None:
    """A setting fixed at setup, a master key that is not this keystore's or not there: one line each."""
    await _open(bank_settings)
    with pytest.raises(Refused, match="KKS_LANES=2; the setting says 4"):
        await _open(bank_settings.model_copy(update={"lanes": 4}))
    other = bank_settings.model_copy(update={"data_dir": tmp_path / "other"})
    open_keystore(other)
    for path in (tmp_path / "none.key", custody_of(other).place.keystore.with_name("master.key")):
        with pytest.raises(GatewayError) as refused:
            await _open(bank_settings.model_copy(update={"master_key_file": path}))
        assert "\n" not in str(refused.value)


def test_a_new_keystore_holds_the_banks_keys(bank_settings: Settings) -> None:
    """It is made once, with a master key beside it unless another place is set; a data folder that is a file is refused."""
    hsm = open_keystore(bank_settings)
    made = hsm.keys()
    assert {*BANK_KEYS} == {info.label for info in made}
    assert hsm.find("audit").kcv == open_keystore(bank_settings).find("audit").kcv
    blocked = bank_settings.data_dir.parent / "file"
    blocked.write_text("")
    with pytest.raises(Refused, match=r"cannot make .*keys: Not a directory"):
        open_keystore(bank_settings.model_copy(update={"data_dir": blocked}))


async def test_the_service_listens_and_ends(bank: Bank) -> None:
    """ISO 8583 and HTTP are reachable while it runs, jobs were caught up, and both are closed afterwards."""
    ensure_test_link(bank)
    async with run_service(bank) as service:
        for host, port in (service.iso_address, service.http_address):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            await writer.wait_closed()
        assert service.scheduler.running
        assert len(JOBS) == await one_value(bank, "SELECT count(*) FROM job_run WHERE state = 'DONE'")
    assert not service.scheduler.running
    for host, port in (service.iso_address, service.http_address):
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection(host, port)


async def test_a_port_that_is_taken_is_one_line(bank: Bank) -> None:
    """The line says for what and where, and nothing is left running."""
    ensure_test_link(bank)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for name, what in (("iso_port", "ISO 8583"), ("http_port", "HTTP")):
            bank.settings = bank.settings.model_copy(update={"iso_port": 0, "http_port": 0} | {name: port})
            with pytest.raises(GatewayError, match=f"^cannot listen for {what} on 127.0.0.1 port {port}: "):
                await _serve(bank)


async def test_a_service_needs_its_links_key_and_file(bank: Bank, tmp_path: Path) -> None:
    """A link without its key, or a links file that is not there, is refused before anything listens."""
    with pytest.raises(Refused, match="link himbara wants the key zpk-himbara, which the keystore lacks"):
        await _serve(bank)
    bank.settings = bank.settings.model_copy(update={"links_file": tmp_path / "none.toml"})
    with pytest.raises(SettingsError, match="KKS_LINKS_FILE"):
        await _serve(bank)


async def _open(settings: Settings) -> None:
    async with open_bank(settings):
        pass


async def _serve(bank: Bank) -> None:
    async with run_service(bank, jobs=False):
        pass

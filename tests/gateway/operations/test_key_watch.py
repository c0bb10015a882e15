"""Tests of gateway.operations.key_watch: what a running service sees of its keystore, and who sees that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from gateway.app import open_bank, open_keystore
from gateway.operations import ceremony, key_watch, link_keys
from gateway.operations.custody import custody_of
from gateway.operations.key_watch import KeyWatch
from keys.keytypes import KeyUsage
from tests.gateway.partner_keys import ZONE, block
from tests.gateway.rites import SITI, ZPK, new_zmk
from tests.gateway.street import open_street

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.settings import Settings


async def test_what_was_changed_is_taken_up(bank: Bank, bank_settings: Settings) -> None:
    """By another process; all is well before and after."""
    watch = KeyWatch(bank)
    await watch.look()
    made = open_keystore(bank_settings).generate(KeyUsage.MAC_CMAC, "link")
    with capture_logs() as logged:
        await watch.look()
        await watch.look()
    assert made.kcv == bank.hsm.find("link").kcv
    assert [("keys_changed", 5)] == [(line["event"], line["keys"]) for line in logged]
    assert watch.not_taken_up_since is None


async def test_a_key_of_another_process_waits_before_it_is_there(bank: Bank, bank_settings: Settings) -> None:
    """A key that came over a link elsewhere is known to be pending when it is taken up: nothing is made under it in between."""
    await new_zmk(bank)
    async with open_bank(bank_settings) as other:
        await link_keys.change(other, ZONE, block())
        refresh, known = bank.hsm.refresh, []

        def watched() -> bool:
            known.append(bank.key_turns.pending)
            return refresh()

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(bank.hsm, "refresh", watched)
            await KeyWatch(bank).look()
        assert frozenset({("zak", 1)}) == known[0]
        assert [("zak", 1)] == [(key.label, key.version) for key in bank.hsm.find_all("zak")]


@pytest.mark.parametrize("what", ["put back", "damaged", "gone"])
async def test_a_keystore_that_cannot_be_taken_up(bank: Bank, bank_settings: Settings, what: str) -> None:
    """Logged when it begins and when it ends, not each second; since when is known; the loaded keys go on working."""
    path, watch = custody_of(bank_settings).place.keystore, KeyWatch(bank)
    older = path.read_bytes()
    await ceremony.generate(bank, SITI, "zpk", ZPK)
    newer = path.read_bytes()
    broken: dict[str, Callable[[], object]] = {
        "put back": lambda: path.write_bytes(older),
        "damaged": lambda: path.write_bytes(newer[:-20]),
        "gone": path.unlink,
    }
    with capture_logs() as logged:
        await watch.look()
        broken[what]()
        await watch.look()
        since = watch.not_taken_up_since
        for _ in range(3):
            await watch.look()
        assert since == watch.not_taken_up_since is not None
        assert bank.hsm.mac(bank.keys.audit, b"data")
        path.write_bytes(newer)
        path.chmod(0o600)
        for _ in range(2):
            await watch.look()
        assert str(watch.not_taken_up_since) == "None"
    told = [(line["event"], line["log_level"]) for line in logged if line["event"] != "keys_changed"]
    assert [("keys_not_taken_up", "error"), ("keys_taken_up_again", "warning")] == told


async def test_who_looks_at_the_service_sees_it(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over HTTP, of the running service: since when, and well again; it is ready all the time, and money is paid."""
    monkeypatch.setattr(key_watch, "KEY_WATCH_S", 0.01)
    path = custody_of(bank.settings).place.keystore
    async with open_street(bank, tmp_path) as street, aiohttp.ClientSession() as http:
        host, port = street.service.http_address

        async def keys(page: str) -> dict[str, Any]:
            async with http.get(f"http://{host}:{port}{page}") as response:
                assert 200 == response.status
                found: dict[str, Any] = (await response.json())["keystore"]
                return found

        async def until(state: str) -> dict[str, Any]:
            for _ in range(500):
                if (found := await keys("/v1/status"))["state"] == state:
                    return found
                await asyncio.sleep(0.01)
            raise AssertionError(found)

        await until("ok")
        whole = path.read_bytes()
        path.write_bytes(whole[:-10])
        found = await until("not taken up")
        assert found == await keys("/health/ready")
        assert str(bank.now())[:10] == found["since"][:10]
        assert str(path) not in str(found)
        assert "00" == (await street.atm.withdraw(street.card, 50_000)).code
        path.write_bytes(whole)
        assert {"state": "ok", "since": None} == await until("ok")

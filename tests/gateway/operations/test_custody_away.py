"""The whole bank on a token that is taken out while it works: what it answers, what its health says, and that it comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.gateway.operations.test_custody import on_a_token
from tests.keys.softhsm import needs_token

if TYPE_CHECKING:
    from pathlib import Path

BANK_ON_A_TOKEN_TAKEN_OUT = """
    import asyncio, json, sys
    from pathlib import Path
    import aiohttp
    from gateway.app import open_bank
    from gateway.operations.custody import custody_of
    from gateway.settings import load_settings
    from tests.gateway.street import assert_proved, open_street
    from tests.keys.softhsm import take_out

    async def main(url, folder, module, label):
        folder = Path(folder)
        settings = load_settings(
            database_url=url, data_dir=folder / "var", key_backend="pkcs11", iso_port=0, http_port=0, log_level="error",
            key_options={"module": module, "token": label, "pin_file": str(folder / "user.pin")},
        )
        custody, told = custody_of(settings), {"codes": [], "ready": []}
        custody.kind.set_up(custody.place, folder / "officer.pin", 1)
        async with open_bank(settings) as bank, open_street(bank, folder, families=1) as street:
            host, port = street.service.http_address

            async def ready():
                async with aiohttp.ClientSession() as http, http.get(f"http://{host}:{port}/health/ready") as response:
                    return (await response.json())["status"]

            async def note():
                told["codes"].append((await street.atm.withdraw(street.wallet.cards[0], 50_000)).code)
                told["ready"].append(await ready())

            await note()
            for _ in range(2):
                (folder / "user.pin").rename(folder / "away.pin")  # so it stays away: nobody has its PIN
                take_out(bank.hsm._workshop._token)
                await note()
                await asyncio.sleep(2.5)  # the watch over the keys has looked at least once
                await note()
                (folder / "away.pin").rename(folder / "user.pin")
                async with asyncio.timeout(60):
                    while await ready() != "ready":
                        await asyncio.sleep(0.05)
                await note()
            await assert_proved(bank)
        print(json.dumps(told))

    asyncio.run(main(*sys.argv[1:]))
"""


@needs_token
def test_a_token_is_taken_out_of_a_working_bank(database_url: str, tmp_path: Path) -> None:
    """Requests are answered 96 and nothing moves, `ready` says that there are no keys; then it works again, without a restart."""
    told = on_a_token(BANK_ON_A_TOKEN_TAKEN_OUT, database_url, tmp_path)
    assert ["00", *["96", "96", "00"] * 2] == told["codes"]
    assert ["ready", *["no keys", "no keys", "ready"] * 2] == told["ready"]

"""Keys that come over a link, in a bank whose keys are in a PKCS#11 token: the same as in software."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.gateway.operations.test_custody import on_a_token
from tests.keys.softhsm import needs_token

if TYPE_CHECKING:
    from pathlib import Path

KEYS_COME_TO_A_TOKEN = """
    import asyncio, json, sys
    from dataclasses import replace
    from pathlib import Path
    from gateway.app import open_bank
    from gateway.errors import Refused
    from gateway.operations import link_keys
    from gateway.operations.custody import custody_of
    from gateway.settings import load_settings
    from gateway.terminals.links_file import read_links
    from gateway.terminals.profile import Link
    from gateway.terminals.security import LinkSecurity
    from iso.codec import decode
    from iso.dialect import HIMBARA
    from iso.mac import seal
    from iso.message import Message
    from keys import mac
    from tests.gateway.partner_keys import ONE, TWO, ZONE, block, states
    from tests.gateway.rites import new_zmk
    from tests.gateway.street import assert_proved

    CASH = Message("0200", {3: "010000", 11: "000002"})

    async def main(url, folder, module, label):
        folder = Path(folder)
        settings = load_settings(
            database_url=url, data_dir=folder / "var", key_backend="pkcs11", iso_port=0, http_port=0, log_level="error",
            key_options={"module": module, "token": label, "pin_file": str(folder / "user.pin")},
        )
        custody, told = custody_of(settings), {}
        custody.kind.set_up(custody.place, folder / "officer.pin", 1)
        shipped = read_links(None).first.model_dump(exclude_defaults=True)
        link = Link.model_validate(shipped | {"mac": "required", "mac_key": "zak"})
        zone = replace(ZONE, overlap_s=0)
        first, second = (seal(CASH, mac.retail(key, 1)) for key in (ONE, TWO))
        async with open_bank(settings) as bank:
            await new_zmk(bank)
            told["zak"] = [(await link_keys.change(bank, zone, block(ONE))).kcv.value]
            told["zpk"] = (await link_keys.change(bank, zone, block(bytes(range(16)), "P0", "D"))).kcv.value
            guard = LinkSecurity(link, bank.hsm, bank)
            told["refused"] = [guard.refusal(decode(data), data) for data in (first, second)]
            told["made"] = guard.encode(CASH, HIMBARA, CASH) == first
            await link_keys.look(bank)
            told["zak"].append((await link_keys.change(bank, zone, block(TWO))).kcv.value)
            try:
                await link_keys.change(bank, zone, block(TWO))
            except Refused as error:
                told["again"] = str(error)
        async with open_bank(settings) as bank:
            guard = LinkSecurity(link, bank.hsm, bank)
            told["refused"] += [guard.refusal(decode(data), data) for data in (first, second)]
            told["made"] = told["made"] and guard.encode(CASH, HIMBARA, CASH) == second
            await link_keys.look(bank)
            told["states"] = states(bank)
            told["refused"] += [guard.refusal(decode(data), data) for data in (first, second)]
            await assert_proved(bank)
        print(json.dumps(told))

    asyncio.run(main(*sys.argv[1:]))
"""


@needs_token
def test_keys_come_to_a_token(database_url: str, tmp_path: Path) -> None:
    """Pending over a restart, used, the older one ended; the same key again is destroyed in the token."""
    told = on_a_token(KEYS_COME_TO_A_TOKEN, database_url, tmp_path)
    assert (["08D7B4"], True) == (told["zak"][:1], told["made"])  # type: ignore[index]
    assert [None, "63", None, None, "63", None] == told["refused"]
    assert ["DEACTIVATED", "ACTIVE", "DESTROYED"] == told["states"]
    assert "key zak#3: has the check value of zak#2" == told["again"]


THE_BANK_OFFERS = """
    import asyncio, json, sys
    from dataclasses import replace
    from pathlib import Path
    from gateway.app import open_bank
    from gateway.operations import link_keys, outgoing
    from gateway.operations.custody import custody_of
    from gateway.operations.link_key_offers import may_go, offer, outcome
    from gateway.rules.outgoing import Verdict
    from gateway.settings import load_settings
    from iso.message import Message
    from keys.keytypes import KeySpec, KeyUsage
    from keys.software import SoftwareHsm
    from tests.gateway.partner_keys import ONE, ZMK, ZONE, block, states, use
    from tests.gateway.rites import BUDI, SITI, new_zmk
    from tests.gateway.street import assert_proved
    from tests.keys.samples import components

    async def main(url, folder, module, label):
        folder = Path(folder)
        settings = load_settings(
            database_url=url, data_dir=folder / "var", key_backend="pkcs11", iso_port=0, http_port=0, log_level="error",
            key_options={"module": module, "token": label, "pin_file": str(folder / "user.pin")},
        )
        custody, told = custody_of(settings), {}
        custody.kind.set_up(custody.place, folder / "officer.pin", 1)
        zone = replace(ZONE, overlap_s=0)
        hsm = SoftwareHsm.in_memory()
        zmk = hsm.form(KeySpec(KeyUsage.KEY_BLOCK_PROTECTION), "zmk", components(ZMK))
        async with open_bank(settings) as bank:
            await new_zmk(bank)
            await link_keys.change(bank, zone, block(ONE))
            use(bank, "zak", 1)
            await link_keys.look(bank)
            info = await offer(bank, SITI, BUDI, zone, "mac")
        async with open_bank(settings) as bank:
            (stored,) = await outgoing.listed(bank, 9)
            message = outgoing.message_of(bank, stored)
            theirs = hsm.import_block("zak", message.fields[48], zmk)
            told["same"] = hsm.kcv(theirs) == info.kcv
            told["goes"] = await may_go(bank, zone, message)
            answer = Message("0810", {39: "00", 48: str(theirs.kcv)})
            told["verdict"], _ = await outcome(bank, zone, message, answer, Verdict.DONE)
            data = b"some message"
            newest = bank.key_turns.in_order(bank.hsm.find_all("zak"))[0]
            told["mac"] = hsm.verify_mac(theirs, data, bank.hsm.mac(newest, data))
            await link_keys.look(bank)
            told["states"], told["drafts"] = states(bank), states(bank, "zak-draft")
            await assert_proved(bank)
        print(json.dumps(told))

    asyncio.run(main(*sys.argv[1:]))
"""


@needs_token
def test_the_bank_offers_a_key_of_a_token(database_url: str, tmp_path: Path) -> None:
    """Made, let out and destroyed in the token; what is kept makes the MACs that the partner verifies."""
    told = on_a_token(THE_BANK_OFFERS, database_url, tmp_path)
    assert (True, True, "done", True) == tuple(told[name] for name in ("same", "goes", "verdict", "mac"))
    assert (["DEACTIVATED", "ACTIVE"], ["DESTROYED"]) == (told["states"], told["drafts"])

"""A bank whose link wants chip, stripe value or DUKPT: profile, test keys, and cards with chips in front of it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway.app import open_bank, run_service
from gateway.operations.bank import reading
from gateway.simulator.chip_card import ChipCard
from gateway.simulator.terminal import Asked
from gateway.terminals.links_file import DEFAULT_FILE
from iso.message import Message
from keys.hsm import Dukpt
from keys.keytypes import KeySpec, KeyUsage
from keys.sensitive import Pin
from tests.gateway.street import AID_IDR, assert_proved, stand_before
from tests.gateway.world import activate, credit, open_families

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from gateway.operations.bank import Bank
    from gateway.settings import Settings
    from gateway.simulator.terminal import Terminal
    from gateway.simulator.wallet import TestCard
    from tests.gateway.street import Street

IMK = [b"\x11" * 16, bytes.fromhex("515053525554575659585B5A5D5C5F5E")]
SMI = [b"\x33" * 16, bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")]
CVK = [b"\x11" * 16, bytes.fromhex("1032547698BADCFEEFCDAB8967452301")]
BDK = [b"\x22" * 16, bytes.fromhex("2301674589ABCDEFEFCDAB8967452301")]
CHIP_READ, STRIPE_READ, FALLBACK = "051", "901", "801"
DEVICE = bytes.fromhex("FFFF9876543210E00000")


def link_file(folder: Path, **settings: str | int | list[str]) -> Path:
    """The shipped link with other settings, as a file."""
    head, codes = DEFAULT_FILE.read_text(encoding="utf-8").split("\n[response_codes]\n")
    for name, value in settings.items():
        lines = [line for line in head.splitlines() if not line.startswith(f"{name} =")]
        head = "\n".join([*lines, f"{name} = {value!r}", ""]).replace("'", '"')
    path = folder / "links.toml"
    path.write_text(f"{head}\n[response_codes]\n{codes}", encoding="utf-8")
    return path


def give_keys(bank: Bank) -> None:
    """The issuer's test keys for chip and stripe, and the base key of DUKPT terminals."""
    bank.hsm.form(KeyUsage.ISSUER_CRYPTOGRAM, "imk-ac", IMK)
    bank.hsm.form(KeyUsage.ISSUER_SCRIPT_MAC, "imk-smi", SMI)
    bank.hsm.form(KeyUsage.CARD_VERIFICATION, "cvk", CVK)
    bank.hsm.form(KeyUsage.BASE_DERIVATION, "bdk", BDK)


def chip_of(card: TestCard, atc: int = 0) -> ChipCard:
    """The chip of a card of the wallet."""
    return ChipCard(card, _joined(IMK), _joined(CVK), atc=atc, smi=_joined(SMI))


def with_chip(terminal: Terminal, chip: ChipCard, amount_idr: int = 10_000, **changes: str) -> Message:
    """A withdrawal by chip. CHANGES: tags signed otherwise, as ChipCard.sign has them."""
    message = terminal.request(Asked.CASH, chip.card, amount_idr)
    message.fields[22] = CHIP_READ
    message.fields[55] = chip.sign(message.fields[4], chip.card.expires.replace(year=2026), **changes)
    return message


def by_stripe(terminal: Terminal, chip: ChipCard, track2: str, de22: str = STRIPE_READ) -> Message:
    """A withdrawal by the magnetic stripe."""
    message = terminal.request(Asked.CASH, chip.card, 10_000)
    message.fields |= {22: de22, 35: track2}
    return message


def under_dukpt(street: Street, message: Message, counter: int, pin: str = "", device: bytes = DEVICE) -> Message:
    """The same message with its PIN under the next key of a DUKPT terminal, whose KSN stands in DE62."""
    ksn = (int.from_bytes(device) + counter).to_bytes(len(device))
    card = next(one for one in street.wallet.cards if one.pan.reveal() == message.fields[2])
    hsm = street.bank.hsm
    block = hsm.encipher_pin(Pin(pin) if pin else card.pin, Dukpt(hsm.find("bdk"), ksn), card.pan)
    return Message(message.mti, message.fields | {52: block.hex().upper(), 62: ksn.hex().upper()})


@asynccontextmanager
async def street_of(
    settings: Settings,
    folder: Path,
    families: int = 1,
    keys: Mapping[str, KeySpec] | None = None,
    **link: Any,  # noqa: ANN401 - any setting
) -> AsyncIterator[Street]:
    """A street whose link wants LINK; the bank has the keys for it, and KEYS. PINs were chosen under the shipped link's key."""
    async with open_bank(settings) as bank:
        give_keys(bank)
        for label, spec in (keys or {}).items():
            bank.hsm.generate(spec, label)
        found = await open_families(bank, folder, families)
        wallet = await activate(bank, found)
        await credit(bank, folder, found, AID_IDR)
        bank.settings = settings.model_copy(update={"links_file": link_file(folder, **link)})
        async with run_service(bank, jobs=False) as service, stand_before(bank, service, wallet, found) as street:
            yield street
        await assert_proved(bank)


async def send(street: Street, message: Message) -> str:
    """What a message is told (DE39)."""
    return (await street.atm.send(message)).code


async def ask(bank: Bank, statement: str) -> list[object]:
    """The one column of a question to the database."""
    async with reading(bank) as connection:
        return list((await connection.execute(text(statement))).scalars())


async def tries(bank: Bank) -> list[object]:
    """PIN tries left of each card."""
    return await ask(bank, "SELECT pin_tries_left FROM card ORDER BY id")


async def last_atcs(bank: Bank) -> list[object]:
    """Each card's last transaction counter."""
    return await ask(bank, "SELECT last_atc FROM card ORDER BY id")


def _joined(components: list[bytes]) -> bytes:
    one, other = components
    return bytes(a ^ b for a, b in zip(one, other, strict=True))

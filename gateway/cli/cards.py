"""`kks card`, `kks account` and `kks family`: what a branch does with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.running import As, Json, who, with_bank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.operations.bank import Bank
    from gateway.rules.card import CardEvent, CardState
    from gateway.store.cards import Card
    from gateway.store.chip_scripts import ChipScript

card = typer.Typer(help="Cards: show, deliver, hand over, block, unblock, replace.", no_args_is_help=True)
account = typer.Typer(
    help="Accounts: balance now and then, statement, unblocking of aid, corrections.", no_args_is_help=True
)

CardId = Annotated[int, typer.Argument(help="number of the card (not its PAN)")]
AccountNumber = Annotated[str, typer.Argument(help="account number (NO_REKENING)")]
Reason = Annotated[str, typer.Option("--reason", help="why; kept with the card")]


@card.command("show")
def card_show(number: CardId, *, json: Json = False) -> None:
    """One card: state, dates, masked PAN; what its chip was told to do."""
    from gateway.operations.bank import reading
    from gateway.store import cards, chip_scripts

    async def work(bank: Bank) -> tuple[Card, list[ChipScript]]:
        async with reading(bank) as connection:
            found = await cards.read(connection, number)
            return found, await chip_scripts.of_card(connection, found)

    found, scripts = with_bank(work)
    _show_cards([found], json=json, scripts=scripts)


@card.command("list")
def card_list(account_number: AccountNumber, *, json: Json = False) -> None:
    """The cards of an account, newest first."""
    from gateway.operations.bank import reading
    from gateway.store import cards

    async def work(bank: Bank) -> list[Card]:
        async with reading(bank) as connection:
            return await cards.of_account(connection, account_number)

    _show_cards(with_bank(work), json=json)


@card.command("undelivered")
def card_undelivered(*, json: Json = False) -> None:
    """How many cards stand where: those not ACTIVE were never handed over or do not work."""
    from gateway.operations.bank import reading
    from gateway.store import cards

    async def work(bank: Bank) -> dict[str, int]:
        async with reading(bank) as connection:
            return await cards.count_by_state(connection)

    found = with_bank(work)
    if json:
        output.as_json({"cards": found})
    else:
        output.table("Cards by state", ["state", "cards"], list(found.items()), numbers=["cards"])


@card.command("pins")
def card_pins(*, json: Json = False) -> None:
    """How many cards have their PIN under which version of the PIN verification key. Reads all cards once."""
    from gateway.operations import pin_keys

    rows = [(one.key, one.state or "no key of ours", one.cards) for one in with_bank(pin_keys.overview)]
    if json:
        output.as_json({"pins": [{"key": key, "state": state, "cards": cards} for key, state, cards in rows]})
    else:
        shown = [(key, state, output.number(cards)) for key, state, cards in rows]
        output.table("PINs by key", ["key", "state", "cards"], shown, numbers=["cards"])


@card.command("deliver")
def card_deliver(
    number: CardId,
    branch: Annotated[str, typer.Option("--branch", help="branch code")],
    *,
    by: As = "",
    json: Json = False,
) -> None:
    """The card has arrived at a branch."""
    from gateway.operations import card as operations

    _show_state(number, with_bank(lambda bank: operations.deliver(bank, who(by), number, branch)), json=json)


@card.command("hand-over")
def card_hand_over(
    number: CardId,
    ktp: Annotated[bool, typer.Option("--ktp-seen", help="the KTP was seen")] = False,
    kk: Annotated[bool, typer.Option("--kk-seen", help="the KK was seen")] = False,
    mother: Annotated[str, typer.Option("--mother-name", help="where the list had none")] = "",
    *,
    by: As = "",
    json: Json = False,
) -> None:
    """Hand the card to the family: only with KTP and KK seen."""
    from gateway.operations import card as operations

    proof = operations.HandOver(ktp_seen=ktp, kk_seen=kk, mother_name=mother)
    _show_state(number, with_bank(lambda bank: operations.hand_over(bank, who(by), number, proof)), json=json)


@card.command("choose-pin")
def card_choose_pin(
    number: CardId,
    pin_block: Annotated[str, typer.Option("--pin-block", help="16 hex digits from the branch's PIN pad (format 0)")],
    *,
    by: As = "",
    json: Json = False,
) -> None:
    """The family has chosen its PIN on the PIN pad; the card becomes active."""
    from gateway.errors import Refused
    from gateway.operations import card as operations
    from gateway.terminals.links_file import read_links

    async def work(bank: Bank) -> CardState:
        try:
            block = bytes.fromhex(pin_block)
        except ValueError:
            raise Refused("--pin-block: is not hex") from None
        key = bank.hsm.find(read_links(bank.settings.links_file).first.pin_key)
        return await operations.choose_pin(bank, who(by), number, block, key)

    _show_state(number, with_bank(work), json=json)


def _state_command(name: str, event: str, meaning: str) -> None:
    def command(number: CardId, reason: Reason, *, by: As = "", json: Json = False) -> None:
        from gateway.operations import card as operations
        from gateway.rules.card import CardEvent

        chosen: CardEvent = CardEvent(event)
        state = with_bank(lambda bank: operations.change_state(bank, who(by), number, chosen, reason))
        _show_state(number, state, json=json)

    command.__doc__ = meaning
    card.command(name)(command)


_state_command("block", "block", "Stop a card for a while.")
_state_command("unblock", "unblock", "Let a blocked card work again.")
_state_command("unlock", "unlock PIN", "After three wrong PINs: let the family try again with its PIN.")
_state_command("reset-pin", "reset PIN", "The PIN is forgotten: the family chooses a new one.")
_state_command(
    "trust-chip", "trust chip", "Its chip has counted too far ahead: let its next transaction count from there."
)
_state_command("lost", "report lost", "The card is lost: it never works again.")
_state_command("stolen", "report stolen", "The card is stolen: it never works again.")


@card.command("replace")
def card_replace(number: CardId, reason: Reason, *, by: As = "", json: Json = False) -> None:
    """Order a new card with a new PAN; the old one never works again."""
    from gateway.operations import card as operations

    new = with_bank(lambda bank: operations.replace(bank, who(by), number, reason))
    if json:
        output.as_json({"card": new.id, "replaces": number, "pan": new.pan_masked})
    else:
        output.say(f"Card {new.id} ({new.pan_masked}) is ordered in place of card {number}.")


@account.command("show")
def account_show(account_number: AccountNumber, *, json: Json = False) -> None:
    """An account: its purses and tranches, and what is lost next if it is not used."""
    from gateway.operations import account as operations

    found = with_bank(lambda bank: operations.show(bank, account_number))
    if json:
        output.as_json(found)
        return
    output.say(f"Account {found['number']} ({found['state']}), {found['holder']}, opened {found['opened_on']}")
    if found["expiring"] is not None:
        output.say(
            f"{output.rupiah(found['expiring']['amount_idr'])} cannot be spent from {found['expiring']['on']} on if not used."
        )
    names = ("programme", "stage", "credited_on", "available_from", "amount_idr", "available_idr", "state")
    rows = [[output.rupiah(t[name]) if name.endswith("_idr") else t[name] for name in names] for t in found["tranches"]]
    columns = ["programme", "stage", "credited", "available from", "amount", "left", "state"]
    output.table("Tranches, oldest first", columns, rows, numbers=["amount", "left"])


@account.command("holds")
def account_holds(account_number: AccountNumber, *, json: Json = False) -> None:
    """Money set aside (0100): what of it still is, until when, and how each hold ended."""
    from dataclasses import asdict

    from gateway.operations import holds

    found = with_bank(lambda bank: holds.of_account(bank, account_number))
    if json:
        output.as_json({"holds": [asdict(one) for one in found]})
        return
    rows = [
        (h.id, h.business_date, h.terminal, h.stan, output.rupiah(h.amount_idr), output.rupiah(h.left_idr), h.until, h.state,
         h.adds_to)
        for h in found
    ]  # fmt: skip
    columns = ["hold", "date", "terminal", "STAN", "rupiah", "still held", "until", "state", "adds to"]
    output.table("Holds, newest first", columns, rows, numbers=["hold", "rupiah", "still held", "adds to"])


@account.command("unblock")
def account_unblock(
    account_number: Annotated[str, typer.Option("--account", help="one account")] = "",
    region: Annotated[str, typer.Option("--region", help="first digits of KODE_WILAYAH, for a whole region")] = "",
    checker: Annotated[str, typer.Option("--checker", help="the second person")] = "",
    reason: Reason = "",
    *,
    by: As = "",
    json: Json = False,
) -> None:
    """Open aid again that a clock has blocked, by a letter or an order of the ministry; two people."""
    from gateway.operations import dormancy

    summary = with_bank(
        lambda bank: dormancy.unblock(
            bank, who(by), checker, reason, region_prefix=region, account_number=account_number or None
        )
    )
    if json:
        output.as_json({"tranches": summary.tranches, "amount_idr": summary.amount_idr})
    else:
        output.say(f"{summary.tranches} tranches with {output.rupiah(summary.amount_idr)} can be spent again.")


def _show_cards(found: list[Card], *, json: bool, scripts: Sequence[ChipScript] | None = None) -> None:
    """SCRIPTS: of the one card."""
    shown = [
        {
            "card": one.id, "account": one.account_number, "holder": one.holder_name, "pan": one.pan_masked, "state": one.state,
            "expires_on": one.expires_on, "pin_tries_left": one.pin_tries_left, "handed_over_at": one.handed_over_at,
            "handed_over_by": one.handed_over_by, "reason": one.reason,
        }
        for one in found
    ]  # fmt: skip
    told = None if scripts is None else [one._asdict() for one in scripts]
    if json:
        output.as_json({"cards": shown} | ({} if told is None else {"scripts": told}))
        return
    columns = ["card", "account", "holder", "pan", "state", "expires_on", "reason"]
    output.table("", columns, [[one[name] for name in columns] for one in shown], numbers=["card"])
    if told:
        names = ["script", "wanted_at", "sent", "sent_at", "result", "told_at"]
        output.table("Told to its chip", names, [[one[name] for name in names] for one in told], numbers=["sent"])


def _show_state(number: int, state: CardState, *, json: bool) -> None:
    if json:
        output.as_json({"card": number, "state": state.value})
    else:
        output.say(f"Card {number} is {state.value}.")

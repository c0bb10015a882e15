"""One visit to a terminal: connect, sign on, do what is wanted, sign off, show what was answered. The hands of `kks simulate`.

Failures of the simulator, of the link and of the wallet end the program with one line. Read next: simulate.py.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.cli import output
from gateway.cli.running import refuse, run, settings
from gateway.errors import GatewayError, Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from gateway.simulator.capture import Capture
    from gateway.simulator.exchange import Exchange
    from gateway.simulator.pinpad import Pad
    from gateway.simulator.profile import Profile
    from gateway.simulator.switch import Switch
    from gateway.simulator.terminal import Terminal, TerminalKind
    from gateway.simulator.testkeys import TestKeys
    from gateway.simulator.wallet import TestCard, Wallet
    from keys.sensitive import Pin

STANS = 999_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a visit goes and with what: the options that the commands share."""

    host: str
    port: int | None
    wallet: Path | None = None
    profile: str = "himbara"
    keys: Path | None = None
    capture: Path | None = None
    unmasked: bool = False


@dataclass(frozen=True, slots=True)
class Outfit:
    """What terminals need: the profile with its keys, and the wallet's cards."""

    profile: Profile
    keys: TestKeys
    cards: Sequence[TestCard] = ()

    @property
    def pinpad(self) -> Pad:
        """Their PIN pad. Raises ProfileError where the test keys lack its key."""
        return self.profile.pinpad(self.keys)


def outfit_of(place: Place, wallet: Wallet | None = None) -> Outfit:
    """The profile with its keys: of the file that was named, of the wallet, of the bank's test keys. Raises ProfileError."""
    from gateway.simulator.profile import read_profile, with_keys
    from gateway.simulator.testkeys import TestKey, TestKeyKind, TestKeys, load_test_keys
    from keys.keytypes import Algorithm

    keys = TestKeys() if place.keys is None else load_test_keys(place.keys)
    if wallet is not None and wallet.zpk_components:
        keys = keys.joined([TestKey(wallet.zpk_label, TestKeyKind.ZPK, Algorithm.TDES, wallet.zpk_components)])
    usual = settings().data_dir / "simulator" / "test-keys.json"
    if place.keys is None and usual.exists():
        found = load_test_keys(usual)
        keys = replace(keys.joined(found.keys), folder=found.folder)
    return Outfit(with_keys(read_profile(place.profile), keys), keys, () if wallet is None else wallet.cards)


@contextmanager
def capturing(place: Place, outfit: Outfit) -> Iterator[Capture | None]:
    """The file that --capture names, open. Raises CaptureError, Refused."""
    from gateway import clock
    from gateway.simulator.capture import Capture

    if place.capture is None:
        if place.unmasked:
            raise Refused("--unmasked-capture: goes with --capture")
        yield None
        return
    with Capture(place.capture, outfit.profile, outfit.cards, clock=clock.now, unmasked=place.unmasked) as capture:
        yield capture


def at_terminal(
    kind: TerminalKind,
    work: Callable[[Terminal, TestCard], Awaitable[list[Exchange]]],
    card: int | None,
    account: str,
    place: Place,
    *,
    json: bool,
) -> None:
    """Stand at a terminal with a card of the wallet, do WORK, show what was answered."""
    from gateway import clock
    from gateway.simulator.switch import Switch

    port = port_of(place.port, place.profile)
    with in_one_line(f"{place.host}:{port}"):
        found = wallet_of(place.wallet)
        chosen, outfit = card_of(found, card, account), outfit_of(place, found)
        pinpad = outfit.pinpad

        async def visit() -> list[Exchange]:
            with capturing(place, outfit) as capture:
                link = Switch(place.host, port, clock=clock.now, profile=outfit.profile, capture=capture)
                async with link as switch:
                    stan = clock.now().microsecond % STANS + 1  # two visits within a second are not one message
                    return await work(switch.terminal(pinpad, kind, 1, first_stan=stan), chosen)

        exchanges = run(visit())
    if json:
        first, *later = [values_of(one) for one in exchanges]
        output.as_json(first | ({"reversal": later[0]} if later else {}))
    else:
        for one in exchanges:
            show(one)
    refuse_silence(exchanges)


def network(work: Callable[[Switch], Awaitable[Exchange]], place: Place, *, json: bool) -> None:
    """Network management on a connection of its own; needs no wallet."""
    from gateway import clock
    from gateway.simulator.switch import Switch

    port = port_of(place.port, place.profile)

    async def visit() -> Exchange:
        switch = Switch(place.host, port, clock=clock.now, profile=outfit_of(place).profile)
        await switch.connect()
        try:
            exchange = await work(switch)
            if exchange.approved:
                await switch.sign_off()
        finally:
            await switch.close()
        return exchange

    with in_one_line(f"{place.host}:{port}"):
        exchange = run(visit())
    if json:
        output.as_json(values_of(exchange))
    else:
        show(exchange)
    refuse_silence([exchange])


def show(exchange: Exchange) -> None:
    """A few lines for a person; the card is masked."""
    request = exchange.request
    if exchange.answer is None:
        output.say(f"{exchange.place}: no answer")
        return
    output.say(f"{exchange.place}: {exchange.code} {says(exchange.code)}, {exchange.elapsed_ms:.0f} ms")
    if request.get(2) is not None:
        values = values_of(exchange)
        approval = f", approval {values['approval_code']}" if values["approval_code"] else ""
        amount = output.rupiah(values["amount_idr"])
        if exchange.in_part:
            amount = f"{output.rupiah(values['approved_idr'])} of {amount} asked for"
        output.say(f"  card {values['card']}, {amount}{approval}")
    if exchange.balances:
        names = {"10": "cash", "98": "food"}
        purses = [f"{names.get(kind, kind)} {output.rupiah(amount)}" for kind, amount in exchange.balances.items()]
        output.say(f"  can be spent: {', '.join(purses)}")


def values_of(exchange: Exchange) -> dict[str, Any]:
    """What `--json` prints of one exchange. amount_idr: what was asked for; approved_idr: what the bank said yes to."""
    from iso.describe import masked

    request, answer = exchange.request, exchange.answer
    values: dict[str, Any] = {
        "mti": request.mti, "stan": request.get(11), "answer": None if answer is None else answer.mti, "code": exchange.code,
        "meaning": says(exchange.code), "approved": exchange.approved, "elapsed_ms": round(exchange.elapsed_ms, 1),
    }  # fmt: skip
    pan = request.get(2)
    if pan is not None:
        values |= {
            "terminal": request.get(41, "").strip(), "card": masked(2, pan),
            "amount_idr": exchange.asked_idr, "approved_idr": exchange.approved_idr,
            "approval_code": None if answer is None else answer.get(38), "balances": exchange.balances,
        }  # fmt: skip
    return values


def says(code: str) -> str:
    """What a response code means, in English."""
    from iso.response_codes import meaning

    return meaning(code).english if code else "no answer"


def refuse_silence(exchanges: list[Exchange]) -> None:
    """No answer is a failure: what the bank did is unknown."""
    for one in exchanges:
        if one.answer is None:
            refuse(f"{one.place}: {one.failure}; what the bank did is not known")


def port_of(port: int | None, profile: str) -> int:
    """The port that was named, or the one of the settings for that profile."""
    from gateway.simulator.profile import read_profile

    if port is not None:
        return port
    with in_one_line():
        return settings().iso_port + read_profile(profile).port_offset


def wallet_of(path: Path | None) -> Wallet:
    """The wallet that was named, or the one of the demo. Raises WalletError; Refused where it is empty."""
    from gateway.simulator.wallet import load_wallet

    place = settings().data_dir / "demo" / "wallet.json" if path is None else path
    found = load_wallet(place)
    if not found.cards:
        raise Refused(f"wallet {place}: holds no card")
    return found


def card_of(wallet: Wallet, place: int | None, account: str) -> TestCard:
    """The card that was named by its place (from 1) or account; without either the first. Raises Refused."""
    if place is not None and account:
        raise Refused("--card and --account: give one of them")
    if account:
        for card in wallet.cards:
            if card.account_number == account:
                return card
        raise Refused(f"--account: no card of the wallet is of account {account}")
    if (place or 1) > len(wallet.cards):
        raise Refused(f"--card: the wallet has {len(wallet.cards)} cards")
    return wallet.cards[(place or 1) - 1]


def typed_pin(pin: str) -> Pin | None:
    """What is typed on the PIN pad; None for the right PIN. Raises Refused, which tells no digit."""
    from keys.errors import KeysError
    from keys.sensitive import Pin

    try:
        return Pin(pin) if pin else None
    except KeysError as error:
        raise Refused(f"--pin: {error}") from None


@contextmanager
def in_one_line(where: str = "") -> Iterator[None]:
    """Whatever the simulator cannot do ends the program with one line. WHERE: address of the bank."""
    from gateway.simulator.errors import SimulatorError
    from iso.errors import IsoError, LinkError, SignOnRefused
    from keys.errors import KeysError

    try:
        yield
    except SignOnRefused as error:
        refuse(f"{where}: not signed on: {error} ({says(error.response_code)})")
    except LinkError as error:
        refuse(f"no bank at {where}: {error}; `kks serve` starts one")
    except (GatewayError, SimulatorError, KeysError, IsoError) as error:
        refuse(str(error))

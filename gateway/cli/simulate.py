"""`kks simulate`: terminals and switches in the user's hand. They talk TCP with the bank and know nothing else of it.

An answer that declines is an answer and exits 0; no answer is a failure. Read next: visit.py; gateway/simulator/terminal.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.running import Json, parse_amount, refuse
from gateway.cli.visit import Place, at_terminal, card_of, in_one_line, network, typed_pin, wallet_of
from gateway.errors import Refused

if TYPE_CHECKING:
    from gateway.simulator.exchange import Exchange
    from gateway.simulator.profile import Profile
    from gateway.simulator.switch import Switch
    from gateway.simulator.terminal import Terminal
    from gateway.simulator.wallet import TestCard
    from iso.message import Message

MANUAL = """Terminals and switches of a stranger: they talk ISO 8583 over TCP, and know of a bank what it answers.

A first round, in two windows:

\b
  kks demo                                a bank and a wallet of test cards
  kks serve                               window 1: the bank listens
  kks simulate echo                       window 2: is anybody there?
  kks simulate balance                    of the wallet's first card
  kks simulate withdraw --amount 50000    at an ATM; --agent: at an agent
  kks simulate purchase --amount 25000 --card 2
  kks simulate withdraw --amount 50000 --then-reverse --kept 20000
  kks simulate balance --pin 111111       a wrong PIN
  kks simulate cases                      every scripted case we ship
  kks simulate load --seconds 10          many withdrawals at once

\b
A card is chosen by its place in the wallet (--card, from 1) or by its
account number (--account). Without either it is the first one. A
declined transaction is an answer: its code (DE39) is shown and the
exit code is 0. No answer, or no bank there, is exit 1. Every command
takes --json; cards are masked wherever they are shown.

\b
THE OTHER SIDE
  --host and --port   where the bank listens (127.0.0.1, KKS_ISO_PORT)
  --profile NAME      what the link speaks: himbara (ASCII, 4 digits of
                      length, PIN under a zone key), edc (packed, TPDU,
                      DUKPT), chip (as himbara, with MACs, chips and
                      stripes' values), or a TOML file of your own, a
                      copy of gateway/simulator/profiles/chip.toml
                      A link that approves purchases in part has a file with
                      partial_approval = "purchases", or "marked" and
                      partial_fields, which each purchase then carries
  --wallet FILE       test cards with their PINs; never real ones
  --keys FILE         clear test keys, for PIN pads, MACs and cards:
                      [{"label": "bdk-edc", "kind": "bdk",
                        "key_set": "FFFF987654",
                        "components": ["HEX", "HEX"]}]
                      kind: zpk, bdk, initial (with "ksn"), mac,
                      imk-ac (chips), cvk (stripes) or zmk (new keys);
                      "algorithm": "A" where it is AES. Chips count on
                      in chip-counters.txt beside the file, DUKPT
                      terminals in bdk-edc.devices (the key's label)

\b
CERTIFICATION OF A LINK, in this order; go on when each step is clean
  1  kks simulate sign-on, then echo      line, frame and dialect
  2  kks simulate cases --capture A       every case once; keep what is
       printed (or --json) and the capture as evidence
  3  kks simulate cases --repeat 5 --clients 8 --cut 1% --under-load 20
       the same while connections are cut and others pay
  4  kks simulate load --rate 50 --seconds 600 --cut 1%
       --mix withdraw=60,balance=20,purchase=15,reverse=5
       percentiles, and books that agree: exit 0
  5  kks simulate withdraw --amount 50000 --then-reverse --capture B
     kks simulate replay B --renew        on the system that goes live:
       the same answers as on the one that was certified
  6  kks simulate cases --profile chip    MACs, chips, stripes, new keys:
       on the link `chip` of a bank with test keys, or on one of your own
       whose profile says which of them it wants; then as in 3 and 4
A case of your own: copy one of gateway/simulator/cases/ and name it.

\b
CAPTURE AND REPLAY
  --capture FILE writes what a command sends and is answered into a new
  file that only you can read. Card numbers, tracks, PIN blocks and chip
  data are left out; the line says of which card of the wallet they were,
  and replay puts them in again, always with the card's right PIN.
  --unmasked-capture writes messages of the wallet's own cards whole.
  A file by hand: a line a message,
    2026-11-28T12:00:01.250Z > 30323030...   # time, > sent < received
  of which all but the hexadecimal digits may be missing.
  kks simulate replay FILE --renew            with numbers of now
  kks simulate replay FILE --speed 10         or --rate 50, a second
  kks simulate replay FILE --new-pins         PIN blocks made anew

\b
A SWITCH THAT MISBEHAVES
  kks simulate host RULES.toml --port 8600    for our outgoing side
  Each rule of the file has `when` (type and fields, as in a case),
  perhaps `first` or `every`, and what to `do`: answer, late, drop,
  close, answer_and_close, wrong, garbage; with code, set, delay_ms.
  The first rule that fits acts; without one the answer is sensible.
  To certify what the bank sends, a rule also has `expect` (as in a
  case) for what it takes, `keep` for values that come again, and
  `at_least`, how often it must come: exit 1 where that is not so. With
  --profile chip answers have a MAC (`mac` wrong or none: not), and what
  comes must have one. gateway/simulator/rules/example.toml shows each
  deed, rules/outgoing.toml holds a bank's hot list against the manual.

\b
`explain HEX` reads a message, with or without its headers, and masks
what is secret in it. `pin-block` makes what `kks card choose-pin` wants.
"""
LOCAL = "127.0.0.1"
PORT_HELP = "port of the bank; the default is KKS_ISO_PORT"
WALLET_HELP = "wallet of test cards; the default is demo/wallet.json in KKS_DATA_DIR"
HIMBARA = "himbara"
PROFILE_HELP = "what it speaks: himbara, edc, chip, or a TOML file of your own"
KEYS_HELP = (
    "test keys beside those of the wallet; the default is simulator/test-keys.json in KKS_DATA_DIR, where it is there"
)
CAPTURE_HELP = "write what is sent and answered into this new file, without card data (see `replay`)"
UNMASKED_HELP = "with --capture: write messages of the wallet's own test cards whole"

simulate = typer.Typer(help=MANUAL, no_args_is_help=True)

Host = Annotated[str, typer.Option("--host", help="address of the bank")]
Port = Annotated[int | None, typer.Option("--port", min=1, max=65_535, help=PORT_HELP, show_default=False)]
WalletFile = Annotated[Path | None, typer.Option("--wallet", help=WALLET_HELP, show_default=False)]
ProfileName = Annotated[str, typer.Option("--profile", help=PROFILE_HELP)]
KeysFile = Annotated[Path | None, typer.Option("--keys", help=KEYS_HELP, show_default=False)]
CaptureFile = Annotated[Path | None, typer.Option("--capture", help=CAPTURE_HELP)]
UnmaskedCapture = Annotated[bool, typer.Option("--unmasked-capture", help=UNMASKED_HELP)]
CardPlace = Annotated[int | None, typer.Option("--card", min=1, help="place of the card in the wallet, from 1")]
Account = Annotated[str, typer.Option("--account", help="account number of the card, in place of --card")]
Amount = Annotated[str, typer.Option("--amount", help="rupiah, as 50000 or 50.000")]
TypedPin = Annotated[str, typer.Option("--pin", help="what is typed; the default is the card's right PIN")]


@simulate.command("withdraw")
def withdraw(
    amount: Amount,
    agent: Annotated[bool, typer.Option("--agent", help="at an agent, not at an ATM")] = False,
    then_reverse: Annotated[
        bool, typer.Option("--then-reverse", help="take it back (0420) once it is approved")
    ] = False,
    kept: Annotated[str, typer.Option("--kept", help="rupiah that stay paid out (DE95), with --then-reverse")] = "",
    card: CardPlace = None,
    account: Account = "",
    pin: TypedPin = "",
    host: Host = LOCAL,
    port: Port = None,
    wallet: WalletFile = None,
    profile: ProfileName = HIMBARA,
    keys: KeysFile = None,
    capture: CaptureFile = None,
    unmasked_capture: UnmaskedCapture = False,
    *,
    json: Json = False,
) -> None:
    """Cash at an ATM or an agent (0200); with --then-reverse it is taken back, in whole or but for --kept."""
    from gateway.simulator.terminal import TerminalKind

    if kept and not then_reverse:
        raise typer.BadParameter("goes with --then-reverse", param_hint="--kept")
    with in_one_line():
        amount_idr = parse_amount(amount, "--amount")
        kept_idr = parse_amount(kept, "--kept") if kept else 0
        typed = typed_pin(pin)
        if kept_idr >= amount_idr:
            raise Refused("--kept: must be less than --amount")

    async def work(terminal: Terminal, chosen: TestCard) -> list[Exchange]:
        done = [await terminal.withdraw(chosen, amount_idr, typed)]
        if then_reverse and done[0].approved:
            done.append(await terminal.reverse(done[0], kept_idr))
        return done

    place = Place(host, port, wallet, profile, keys, capture, unmasked_capture)
    kind = TerminalKind.AGENT if agent else TerminalKind.ATM
    at_terminal(kind, work, card, account, place, json=json)


@simulate.command("purchase")
def purchase(
    amount: Amount,
    card: CardPlace = None,
    account: Account = "",
    pin: TypedPin = "",
    host: Host = LOCAL,
    port: Port = None,
    wallet: WalletFile = None,
    profile: ProfileName = HIMBARA,
    keys: KeysFile = None,
    capture: CaptureFile = None,
    unmasked_capture: UnmaskedCapture = False,
    *,
    json: Json = False,
) -> None:
    """Goods at an e-Warong (0200)."""
    from gateway.simulator.terminal import TerminalKind

    with in_one_line():
        amount_idr = parse_amount(amount, "--amount")
        typed = typed_pin(pin)

    async def work(terminal: Terminal, chosen: TestCard) -> list[Exchange]:
        return [await terminal.purchase(chosen, amount_idr, typed)]

    place = Place(host, port, wallet, profile, keys, capture, unmasked_capture)
    at_terminal(TerminalKind.EWARONG, work, card, account, place, json=json)


@simulate.command("balance")
def balance(
    card: CardPlace = None,
    account: Account = "",
    pin: TypedPin = "",
    host: Host = LOCAL,
    port: Port = None,
    wallet: WalletFile = None,
    profile: ProfileName = HIMBARA,
    keys: KeysFile = None,
    capture: CaptureFile = None,
    unmasked_capture: UnmaskedCapture = False,
    *,
    json: Json = False,
) -> None:
    """What a card can spend (0200, DE54), asked at an ATM."""
    from gateway.simulator.terminal import TerminalKind

    with in_one_line():
        typed = typed_pin(pin)

    async def work(terminal: Terminal, chosen: TestCard) -> list[Exchange]:
        return [await terminal.balance(chosen, typed)]

    place = Place(host, port, wallet, profile, keys, capture, unmasked_capture)
    at_terminal(TerminalKind.ATM, work, card, account, place, json=json)


@simulate.command("sign-on")
def sign_on(
    host: Host = LOCAL, port: Port = None, profile: ProfileName = HIMBARA, keys: KeysFile = None, *, json: Json = False
) -> None:
    """Sign on (0800, DE70 001) and off again."""

    async def work(switch: Switch) -> Exchange:
        return await switch.sign_on()

    network(work, Place(host, port, profile=profile, keys=keys), json=json)


@simulate.command("echo")
def echo(
    host: Host = LOCAL, port: Port = None, profile: ProfileName = HIMBARA, keys: KeysFile = None, *, json: Json = False
) -> None:
    """An echo test (0800, DE70 301)."""

    async def work(switch: Switch) -> Exchange:
        return await switch.echo()

    network(work, Place(host, port, profile=profile, keys=keys), json=json)


@simulate.command("explain")
def explain(
    message: Annotated[str, typer.Argument(metavar="HEX", help="a message in hex, with or without its headers")],
    unmasked: Annotated[bool, typer.Option("--unmasked", help="show card number, PIN block and tracks too")] = False,
    profile: ProfileName = HIMBARA,
    *,
    long_bin: Annotated[bool, typer.Option("--long-bin", help="show eight digits of the card number, not six")] = False,
    json: Json = False,
) -> None:
    """Field by field what a message says; what is secret is masked. Asks no bank."""
    from gateway.simulator.profile import read_profile
    from iso.describe import describe, describe_unmasked, masked_fields
    from iso.errors import FormatError

    with in_one_line():
        spoken = read_profile(profile)
    fault = None
    found: Message | None
    try:
        found = _decoded(message, spoken)
    except FormatError as error:
        fault, found = str(error), error.partial
    if found is not None and json:
        fields = found.fields if unmasked else masked_fields(found, spoken.dialect, long_bin=long_bin)
        output.as_json({"mti": found.mti, "fields": {str(n): fields[n] for n in sorted(fields)}, "fault": fault})
    elif found is not None and unmasked:
        output.say(describe_unmasked(found, spoken.dialect))
    elif found is not None:
        output.say(describe(found, spoken.dialect, long_bin=long_bin))
    if fault is not None:
        refuse(fault)


@simulate.command("pin-block")
def pin_block(
    pin: Annotated[str, typer.Option("--pin", help="the PIN that is typed")],
    card: CardPlace = None,
    account: Account = "",
    wallet: WalletFile = None,
    *,
    json: Json = False,
) -> None:
    """What a PIN pad makes of a PIN: 16 hex digits (format 0) under the wallet's test key, for `kks card choose-pin`."""
    from gateway.simulator.pinpad import pinpad_of

    with in_one_line():
        typed = typed_pin(pin)
        found = wallet_of(wallet)
        chosen = card_of(found, card, account)
        block = pinpad_of(found).block(chosen.pan, chosen.pin if typed is None else typed)
    if json:
        output.as_json({"card": chosen.pan.masked, "account": chosen.account_number, "pin_block": block})
    else:
        output.say(block)


def _decoded(text: str, profile: Profile) -> Message:
    """The message in TEXT, its length and message header taken off where it has them. Raises FormatError."""
    from gateway.simulator.replay import bare, read_message
    from iso.codec import decode

    try:
        data = bytes.fromhex(text)
    except ValueError:
        refuse("HEX: is not hex digits, two a byte")
    return read_message(data, profile) or decode(bare(data, profile), profile.dialect)

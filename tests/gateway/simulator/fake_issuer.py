"""A small bank behind a real TCP socket, for the simulator's tests: cards, PINs, money, holds, repeats and reversals in memory.

It answers as profile himbara asks, by rules of its own (not the gateway's). `twist` may change or drop any answer, so that
tests can see whether the terminals notice.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Self

from gateway.simulator.pinpad import Pad, PinPad, other_pin, pinpad_of
from gateway.simulator.profile import HIMBARA_PROFILE, Profile
from gateway.simulator.testkeys import TestKey, TestKeyKind, TestKeys
from gateway.simulator.wallet import TestCard, Wallet
from iso import tlv
from iso.additional_amounts import AdditionalAmount, write_additional_amounts
from iso.amount import read_amount, read_replacement
from iso.codec import decode, encode
from iso.errors import FormatError, FrameError
from iso.framing import Deframer
from iso.message import Message
from iso.original_data import read_original_data
from keys import emv
from keys.emv_profile import profiles
from keys.hsm import Dukpt
from keys.keytypes import Algorithm, KeyUsage
from keys.luhn import check_digit
from keys.sensitive import Pan, Pin

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

COMPONENTS = (bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"), bytes.fromhex("1111111122222222333333334444444A"))
NEEDED = (2, 3, 4, 41, 49, 52)
TRIES = 3
SERVED = frozenset(
    {
        "balance",
        "card_unknown",
        "cash_agent",
        "cash_atm",
        "cash_counter_agent",
        "currency_foreign",
        "duplicate",
        "duplicate_with_other_content",
        "format_amount",
        "format_missing_fields",
        "format_sen",
        "insufficient_funds",
        "network_before_sign_on",
        "network_echo",
        "network_sign_on_and_off",
        "pin_block_damaged",
        "pin_locked",
        "pin_wrong",
        "processing_code_unknown",
        "purchase_e_warong",
        "reversal",
        "reversal_before_original",
        "reversal_partial",
        "reversal_repeated",
        "reversal_request",
        "type_unknown",
    }
)
"""Files of the shipped cases that it passes; the gateway passes all (test_cases_at_the_bank.py)."""


BDK = TestKey("bdk-edc", TestKeyKind.BDK, Algorithm.TDES, (COMPONENTS[0], COMPONENTS[1]), bytes.fromhex("FFFF987654"))
TEST_KEYS = TestKeys(
    (
        TestKey("zpk-himbara", TestKeyKind.ZPK, Algorithm.TDES, COMPONENTS),
        TestKey("mac-himbara", TestKeyKind.MAC, Algorithm.TDES, COMPONENTS),
        BDK,
    )
)
"""What a bank and its terminals share; the bank forms its own half."""
CHIP_KEYS = TestKeys(
    tuple(
        TestKey(label, kind, Algorithm.AES if kind is TestKeyKind.ZMK else Algorithm.TDES, COMPONENTS)
        for label, kind in (
            ("zpk-chip", TestKeyKind.ZPK), ("mac-chip", TestKeyKind.MAC), ("imk-ac", TestKeyKind.IMK), ("cvk", TestKeyKind.CVK),
            ("zmk-chip", TestKeyKind.ZMK),
        )
    )
)  # fmt: skip
"""The same of profile chip."""
_BDK = TEST_KEYS.hsm.form(KeyUsage.BASE_DERIVATION, "bank-bdk", BDK.components)


def clock() -> datetime:
    """A moment that never passes."""
    return datetime(2026, 11, 23, 17, 30, 5, tzinfo=UTC)


def make_wallet(count: int) -> Wallet:
    """Invented cards with the PINs 271828, 271829 and so on."""
    bodies = [f"601301{number:09d}" for number in range(count)]
    cards = [
        TestCard(
            Pan(body + check_digit(body)), Pin(str(271_828 + n)), date(2031, 11, 30), f"0001{n:011d}", f"KELUARGA {n}"
        )
        for n, body in enumerate(bodies)
    ]
    return Wallet(tuple(cards), zpk_components=COMPONENTS)


def make_pinpad() -> PinPad:
    """The PIN pad of such a wallet."""
    return pinpad_of(make_wallet(0))


@dataclass(slots=True)
class Account:
    """A card at the bank. `pin` for DUKPT, where every block is another."""

    block: str
    available_idr: int
    card: TestCard
    pin: Pin
    tries_left: int = TRIES


@dataclass(slots=True)
class Decided:
    """A decided request."""

    amount_idr: int
    answer: Message
    back_idr: int = 0


@dataclass(slots=True)
class FakeIssuer:
    """The bank. As a context it listens on a free port of this machine."""

    wallet: Wallet
    pinpad: Pad
    money_idr: int = 1_000_000
    twist: Callable[[Message, Message], Message | None] = lambda _request, answer: answer
    port: int = 0
    profile: Profile = HIMBARA_PROFILE
    accounts: dict[str, Account] = field(default_factory=dict)
    seen: list[Message] = field(default_factory=list)
    _decided: dict[tuple[str, ...], Decided] = field(default_factory=dict)
    _dead: set[tuple[str, ...]] = field(default_factory=set)
    _reversals: dict[tuple[str, ...], Message] = field(default_factory=dict)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        for card in self.wallet.cards:
            (block,) = self.pinpad.enter(card.pan, card.pin).blocks
            self.accounts[card.pan.reveal()] = Account(block, self.money_idr, card, card.pin)
        self._server = await asyncio.get_running_loop().create_server(lambda: _Link(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def paid_idr(self) -> int:
        """What left all accounts."""
        return sum(self.money_idr - account.available_idr for account in self.accounts.values())

    def decide(self, message: Message) -> Message:
        """The answer to a financial message."""
        if message.mti[:3] in ("050", "052", "030", "062"):
            return _coded(message, "00")
        if message.mti[:2] not in ("01", "02", "04"):
            return _coded(message, "12")
        if message.mti[1] == "4":
            return self._reverse(message)
        return self._once(message, self._advised) if message.mti[2] == "2" else self._pay(message)

    def _once(self, message: Message, work: Callable[[Message], Message]) -> Message:
        """The stored answer to a repeat, or what WORK says."""
        key = _key(message)
        if key not in self._decided:
            amount_idr = int(message.fields[4]) // 100
            self._decided[key] = Decided(amount_idr, work(message))
        return self._decided[key].answer

    def _advised(self, message: Message) -> Message:
        """What was decided elsewhere, or the completion of a hold: always accepted."""
        amount_idr = int(message.fields[4]) // 100
        if 90 not in message.fields:
            self.accounts[message.fields[2]].available_idr -= amount_idr
            return _coded(message, "00")
        hold = self._original(message)
        if hold is not None:
            back_idr = max(0, hold.amount_idr - hold.back_idr - amount_idr)
            hold.back_idr += back_idr
            self.accounts[message.fields[2]].available_idr += back_idr
        return _coded(message, "00")

    def _about(self, message: Message) -> Message:
        """An increment of a hold or a refund of a purchase."""
        original, amount_idr = self._original(message), int(message.fields[4]) // 100
        account = self.accounts[message.fields[2]]
        if original is None:
            return _coded(message, "25")
        if message.mti[1] == "1":
            original.amount_idr += amount_idr
            amount_idr = -amount_idr
        else:
            original.back_idr += amount_idr
        account.available_idr += amount_idr
        return _coded(message, "00")

    def _original(self, message: Message) -> Decided | None:
        named = read_original_data(message.fields[90])
        return self._decided.get((message.fields[2], named.stan, named.transmitted))

    def _pay(self, message: Message) -> Message:
        if 90 in message.fields:
            return self._once(message, self._about)
        key = _key(message)
        if any(number not in message.fields for number in NEEDED):
            return _coded(message, "30")
        if key in self._decided:
            same = self._decided[key].answer.fields[4] == message.fields[4]
            return self._decided[key].answer if same else _coded(message, "94")
        answer = self._decision(message)
        self._decided[key] = Decided(int(message.fields[4]) // 100, answer)
        return answer

    def _decision(self, message: Message) -> Message:
        try:
            amount_idr = read_amount(message.fields[4], 2)
        except FormatError:
            return _coded(message, "30")
        account = self.accounts.get(message.fields[2])
        asked = message.fields[3][:2]
        if _key(message) in self._dead:
            return _coded(message, "68")
        if asked not in ("00", "01", "30", "31", "38", "90") or message.fields[49] != "360":
            return _coded(message, "12")
        if account is None:
            return _coded(message, "14")
        if account.tries_left == 0:
            return _coded(message, "75")
        if not self._pin_is_right(account, message):
            account.tries_left -= 1
            return _coded(message, "55")
        account.tries_left = TRIES
        if asked == "90":
            self._change_pin(account, message)
        moved_idr = amount_idr if asked in ("00", "01") else 0
        if moved_idr > account.available_idr:
            return _told(_coded(message, "51"), account)
        account.available_idr -= moved_idr
        answer = _told(_coded(message, "00"), account)
        answer.fields[38] = f"{len(self._decided):06d}"
        return answer

    def _pin_is_right(self, account: Account, message: Message) -> bool:
        if isinstance(self.pinpad, PinPad):
            return account.block == message.fields[52]
        return _dukpt_block(account.pin, account.card, message.fields[62]) == message.fields[52]

    def _change_pin(self, account: Account, message: Message) -> None:
        block = message.fields[self.profile.new_pin_field]
        if isinstance(self.pinpad, PinPad):
            account.block = block
            return
        candidates = (account.card.pin, other_pin(account.card.pin))
        account.pin = next(pin for pin in candidates if _dukpt_block(pin, account.card, message.fields[62]) == block)

    def _reverse(self, message: Message) -> Message:
        original = read_original_data(message.fields[90])
        key = message.fields[2], original.stan, original.transmitted
        found = self._decided.get(key)
        repeat = self._reversals.get(_key(message))
        if repeat is not None:
            return repeat
        if found is None:
            self._dead.add(key)
        elif found.answer.fields[39] == "00":
            kept = read_replacement(message.fields[95], 2).transaction_idr if 95 in message.fields else 0
            back_idr = max(0, found.amount_idr - kept - found.back_idr)
            found.back_idr += back_idr
            self.accounts[message.fields[2]].available_idr += back_idr
        return self._reversals.setdefault(_key(message), _coded(message, "00"))


class _Link(asyncio.Protocol):
    """One connection."""

    def __init__(self, bank: FakeIssuer) -> None:
        self._bank = bank
        self._deframer = Deframer(bank.profile.framing)
        self._signed_on = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            payloads = self._deframer.feed(data)
        except FrameError as error:
            payloads = list(error.complete)
            if self._transport is not None:
                self._transport.close()
        profile = self._bank.profile
        for frame in payloads:
            header, payload = profile.framing.split(frame)
            try:
                request = decode(payload, profile.dialect)
            except FormatError as error:
                request = error.partial or Message("0200", {})
                answer = _coded(request, "30")
            else:
                answer = self._answer(request) if profile.mac_is_right(request) else _coded(request, "05")
            self._bank.seen.append(request)
            if profile.chip and 55 in request.fields:
                answer.fields[55] = issuer_proof(
                    request, answer.fields[39], CHIP_KEYS.key("imk-ac", TestKeyKind.IMK).value
                )
            twisted = self._bank.twist(request, Message(answer.mti, dict(answer.fields)))
            if twisted is not None and self._transport is not None:
                data = encode(profile.sealed(twisted), profile.dialect)
                self._transport.write(profile.framing.frame(data, profile.framing.reply_header(header)))

    def _answer(self, request: Message) -> Message:
        if request.mti[:2] == "08":
            code = request.fields[70]
            self._signed_on = code == "001" or (self._signed_on and code != "002")
            return _coded(request, "00")
        return self._bank.decide(request) if self._signed_on else _coded(request, "91")


def _dukpt_block(pin: Pin, card: TestCard, ksn: str) -> str:
    """The block that a terminal of TEST_KEYS makes with the key of KSN."""
    key = Dukpt(_BDK, bytes.fromhex(ksn))
    return TEST_KEYS.hsm.encipher_pin(pin, key, card.pan).hex().upper()


def issuer_proof(request: Message, code: str, imk: bytes) -> str:
    """DE55 of the answer to a chip of NSICCS: ARPC by method 1 (EMV book 2, 8.2), and the code."""
    scheme, told = profiles()["nsiccs"], dict(tlv.parse(bytes.fromhex(request.fields[55])))
    master = emv.issuer(imk).derive(scheme.master_data(Pan(request.fields[2]), "00"))
    session = master.derive(emv.session_data(scheme.read(told).r))  # type: ignore[arg-type]
    arc = code.encode("ascii")
    return tlv.build([("91", emv.arpc_1(session, told["9F26"], arc) + arc)]).hex().upper()


def _key(message: Message) -> tuple[str, ...]:
    return message.fields[2], message.fields[11], message.fields[7]


def _coded(message: Message, code: str) -> Message:
    answer = message.response()
    answer.fields[39] = code
    return answer


def _told(answer: Message, account: Account) -> Message:
    amounts = [AdditionalAmount("10", "02", account.available_idr), AdditionalAmount("98", "02", 0)]
    answer.fields[54] = write_additional_amounts(amounts, 2)
    return answer

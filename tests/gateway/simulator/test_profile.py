"""Tests of gateway.simulator.profile: files of profiles, and terminals of each at a bank in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.simulator.cases import run_cases, shipped_cases
from gateway.simulator.errors import ProfileError
from gateway.simulator.pinpad import wrong_pin
from gateway.simulator.play import Play
from gateway.simulator.profile import HIMBARA_PROFILE, Profile, read_profile, shipped_profiles, with_keys
from gateway.simulator.script import read_case
from gateway.simulator.switch import Switch
from gateway.simulator.terminal import TerminalKind
from gateway.simulator.testkeys import TestKeys
from gateway.simulator.traffic import Plan, run_traffic
from iso.dialect import EDC
from iso.errors import SignOnRefused
from iso.framing import FrameKind, HeaderKind
from iso.message import Message
from keys.ksn import TdesKsn
from keys.pinblock import PinFormat
from tests.gateway.simulator.fake_issuer import CHIP_KEYS, SERVED, TEST_KEYS, FakeIssuer, clock, make_wallet

if TYPE_CHECKING:
    from pathlib import Path

WALLET = make_wallet(12)
CARDS = (WALLET.cards[0], WALLET.cards[1])
EDC_PROFILE = read_profile("edc")
SEALED = with_keys(replace(HIMBARA_PROFILE, mac_key="mac-himbara"), TEST_KEYS)


def issuer(profile: Profile) -> FakeIssuer:
    """A bank of that profile."""
    return FakeIssuer(WALLET, profile.pinpad(TEST_KEYS), profile=profile, money_idr=10**8)


def test_the_shipped_ones() -> None:
    """The first is what everything speaks by default; the second is packed, with a TPDU and DUKPT."""
    assert ["chip", "edc", "himbara"] == shipped_profiles()
    assert HIMBARA_PROFILE == read_profile("himbara")
    assert (EDC, FrameKind.BINARY2, HeaderKind.TPDU, "dukpt") == (
        EDC_PROFILE.dialect, EDC_PROFILE.framing.kind, EDC_PROFILE.framing.header_kind, EDC_PROFILE.pin_scheme,
    )  # fmt: skip


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    """Every key; a variant of a dialect."""
    path = tmp_path / "own.toml"
    path.write_text(
        'name = "own"\nport_offset = 3\nsign_on_required = false\n'
        'dialect = "himbara"\nframe = "binary2"\nframe_inclusive = true\nlargest_frame = 500\nheader = "static"\n'
        'header_hex = "49534F"\nacquirer = "000009"\namount_exponent = 0\npin_scheme = "zpk"\npin_key = "zpk-own"\n'
        'pin_format = 4\npin_block_field = 110\nksn_field = 63\nnew_pin_field = 53\nmac = "on"\nmac_key = "mac-own"\n'
        'partial_approval = "marked"\npartial_fields = { 48 = "610011" }\n'
        "[changes]\nfields = { 52 = { length = 32 } }\n"
    )
    own = read_profile(str(path))
    assert ("own", "000009", 0, PinFormat.ISO_4, 53, "mac-own", 32) == (
        own.name, own.acquirer, own.amount_exponent, own.pin_format, own.new_pin_field, own.mac_key, own.dialect.field(52).length,
    )  # fmt: skip
    assert (3, False, True) == (own.port_offset, own.sign_on_required, own.digits_are_text)
    assert (True, {48: "610011"}) == (own.partial_approval, own.partial_fields)
    assert (True, 500, b"ISO") == (own.framing.inclusive, own.framing.max_length, own.framing.header)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "x"', "dialect is missing"),
        ('dialect = "morse"', "dialect must be one of himbara, edc, ebcdic"),
        ('frame = "smoke"', "frame must be one of ascii4"),
        ('header = "x"', "header must be one of none, tpdu, static"),
        ("amount_exponent = 3", "amount_exponent must be one of 0, 2"),
        ('pin_scheme = "x"', "pin_scheme must be one of zpk, dukpt"),
        ("pin_format = 1", "pin_format must be one of 0, 3, 4"),
        ('mac = "required"', "mac must be one of off, on"),
        ('mac = "on"', "mac = 'on' and mac_key go together"),
        ('mac_key = "x"', "mac = 'on' and mac_key go together"),
        ("ksn_field = 129", "are numbers of fields"),
        ('header_hex = "60"', "has none of its own"),
        ('header_hex = "6"', "non-hexadecimal"),
        ("[changes]\nremove = [1]", "there is no field 1"),
        ('colour = "red"', "colour is not known"),
        ('pin_format = "0"', "pin_format must be of the kind int"),
        ('chip = "required"', "chip must be one of off, on"),
        ('chip_profile = "x"', "chip_profile must be one of"),
        ('stripe_value = "x"', "stripe_value must be one of off, on"),
        ("key_exchange_field = 1", "key_exchange_field are numbers of fields"),
        ("freshness_s = 5", "freshness_s is nothing without a MAC"),
        ('partial_approval = "on"', "partial_approval must be one of off, marked, purchases"),
        ('partial_approval = "marked"', "partial_approval = 'marked' and partial_fields go together"),
        ('partial_fields = { 48 = "61" }', "partial_approval = 'marked' and partial_fields go together"),
        ('partial_approval = "marked"\npartial_fields = { 1 = "61" }', "1 is not the number of a field"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    """One line: file, and what is wrong."""
    path = tmp_path / "x.toml"
    head = [line for line in ('name = "x"', 'dialect = "himbara"') if line[:5] != text[:5]]
    path.write_text("\n".join([*(head if text != 'name = "x"' else []), text]))
    with pytest.raises(ProfileError, match=said) as caught:
        read_profile(str(path))
    assert str(caught.value).startswith(f"profile {path}: ")


def test_a_name_that_is_none() -> None:
    """The names there are."""
    with pytest.raises(ProfileError, match="there is no profile x: chip, edc, himbara, or a TOML file"):
        read_profile("x")
    with pytest.raises(ProfileError, match="No such file"):
        read_profile("x.toml")


async def test_terminals_of_profile_edc() -> None:
    """Packed messages with a TPDU, each PIN under a key of its own; money moves, a wrong PIN is one, a PIN is changed."""
    pinpad = EDC_PROFILE.pinpad(TEST_KEYS)
    async with issuer(EDC_PROFILE) as bank, Switch("127.0.0.1", bank.port, clock=clock, profile=EDC_PROFILE) as switch:
        assert (await switch.echo()).approved
        one, two = (switch.terminal(pinpad, TerminalKind.AGENT, n, first_stan=n * 100) for n in (1, 2))
        for terminal in (one, two):
            assert (await terminal.withdraw(WALLET.cards[0], 50_000)).approved
            assert (await terminal.purchase(WALLET.cards[0], 25_000)).approved
        paid = await one.withdraw(WALLET.cards[0], 50_000)
        assert paid.same_answer(await one.repeat(paid, marked=True))
        assert (await one.reverse(paid)).approved
        assert 10**8 - 150_000 == (await one.balance(WALLET.cards[0])).available_idr
        numbers = [message.fields[62] for message in bank.seen if message.mti == "0200"]
    assert {"000014"} == {message.fields[32] for message in bank.seen if 32 in message.fields}
    assert len(numbers) == len(set(numbers)) == 6
    assert 2 == len({TdesKsn.parse(number).device for number in numbers})


async def test_cases_and_load_of_profile_edc(tmp_path: Path) -> None:
    """The same scripts, in another dialect."""
    path = tmp_path / "case.toml"
    path.write_text(
        'name = "x"\n[[step]]\naction = "pin_change"\nnew_pin = "other"\nexpect = { 39 = "00" }\n'
        '[[step]]\naction = "balance"\nexpect = { 39 = "00" }\n'
        '[[step]]\naction = "balance"\npin = "wrong"\nexpect = { 39 = "55" }\n'
        '[[step]]\nname = "h"\naction = "hold"\namount_idr = 5_000\n'
        '[[step]]\naction = "increment"\nof = "h"\namount_idr = 1_000\npin = "right"\nexpect = { 39 = "00" }\n'
        '[[step]]\naction = "raw"\nhex = "000A60000300004F4F4F4F4F"\nexpect = { mti = "0210", 39 = "30" }\n'
    )
    pinpad = EDC_PROFILE.pinpad(TEST_KEYS)
    async with issuer(EDC_PROFILE) as bank:
        done = await run_cases([path], "127.0.0.1", bank.port, WALLET, pinpad, clock=clock, profile=EDC_PROFILE)
        result = await run_traffic(
            WALLET.cards,
            pinpad,
            lambda: Switch("127.0.0.1", bank.port, clock=clock, profile=EDC_PROFILE),
            Plan(0.2, 2, 1, stans_from=200_000),  # the clock stands still: no message of the case may come again
        )
    assert [()] == [one.failures for one in done.cases]
    assert () == done.not_run
    assert (True, {"00": result.answered}) == (result.answered > 2, result.codes)


async def test_shipped_cases_of_profile_edc() -> None:
    """Those that are about sign-on, or about letters in digits, are not for it; the others pass."""
    wallet = make_wallet(40)
    paths = [path for path in shipped_cases(EDC_PROFILE) if path.stem in SERVED]
    pinpad = EDC_PROFILE.pinpad(TEST_KEYS)
    async with FakeIssuer(wallet, pinpad, profile=EDC_PROFILE) as bank:
        done = await run_cases(paths, "127.0.0.1", bank.port, wallet, pinpad, clock=clock, profile=EDC_PROFILE)
    assert {"Amount that is no number", "Money before sign-on", "Sign-on and sign-off"} <= set(done.not_run)
    assert [] == [(one.path.stem, one.failures) for one in done.cases if not one.passed]
    assert len(SERVED) == len(paths) == len(done.cases) + len(done.not_run)


async def test_messages_with_macs(tmp_path: Path) -> None:
    """Sealed by the client, checked in answers; a wrong or missing one is what the case sends on purpose."""
    path = tmp_path / "case.toml"
    path.write_text(
        'name = "x"\n[[step]]\naction = "balance"\nexpect = { 39 = "00", 64 = "*" }\n'
        '[[step]]\naction = "balance"\nmac = "wrong"\nexpect = { 39 = "05" }\n'
        '[[step]]\naction = "balance"\nmac = "none"\nexpect = { 39 = "05" }\n'
        '[[step]]\nname = "w"\naction = "withdraw"\namount_idr = 1_000\nexpect = { 39 = "00" }\n'
        '[[step]]\naction = "reverse"\nof = "w"\nexpect = { 39 = "00", 128 = "*" }\n'
        '[[step]]\naction = "raw"\nhex = "30303034"\n'
    )
    pinpad = SEALED.pinpad(TEST_KEYS)
    async with issuer(SEALED) as bank:

        def new_link() -> Switch:
            return Switch("127.0.0.1", bank.port, clock=clock, profile=SEALED, timeout_s=10)

        assert [] == await Play(read_case(path), new_link, pinpad, CARDS, 0).run()
        bank.twist = lambda _request, answer: Message(answer.mti, answer.fields | {64: "0" * 16})
        with pytest.raises(SignOnRefused, match="response code 05"):
            await Switch("127.0.0.1", bank.port, clock=clock, profile=HIMBARA_PROFILE).__aenter__()
        failures = await Play(read_case(path), new_link, pinpad, CARDS, 1).run()
    assert ["step 1 (balance): the answer to 0200 has no MAC, or a wrong one"] == failures


def test_keys_that_are_not_there() -> None:
    """Of the MAC, or of the PINs."""
    with pytest.raises(ProfileError, match="there is no test key mac-x"):
        with_keys(replace(HIMBARA_PROFILE, mac_key="mac-x"), TEST_KEYS)
    with pytest.raises(ProfileError, match="there is no test key zpk-x"):
        replace(HIMBARA_PROFILE, pin_key="zpk-x").pinpad(TEST_KEYS)
    assert HIMBARA_PROFILE is with_keys(HIMBARA_PROFILE, TEST_KEYS)


def test_profile_chip_and_its_keys(tmp_path: Path) -> None:
    """Every proof; each key is named where the test keys lack it; chips go on counting beside the keys."""
    bare = read_profile("chip")
    assert (True, True, 300, "zmk-chip", None, None) == (
        bare.chip, bare.stripe_value, bare.freshness_s, bare.zone_master_key, bare.reader, bare.courier,
    )  # fmt: skip
    for label in ("mac-chip", "imk-ac", "cvk", "zmk-chip"):
        fewer = TestKeys(tuple(one for one in CHIP_KEYS.keys if one.label != label))
        with pytest.raises(ProfileError, match=f"there is no test key {label}"):
            with_keys(bare, fewer)
    at_home = replace(CHIP_KEYS, folder=tmp_path)
    for counter in (1, 2):
        profile = with_keys(bare, at_home)
        assert profile.reader is not None
        signed = profile.reader.put(Message("0200", {}), CARDS[0], clock().date()).fields[55]
        assert f"9F3602{counter:04X}" in signed
    assert profile.courier is not None


def _without_chip_data(answer: Message) -> Message:
    return Message(answer.mti, {number: text for number, text in answer.fields.items() if number != 55})


async def test_terminals_show_cards_and_believe_their_issuer_alone() -> None:
    """An approval without ARPC counts as no answer, a decline does not need it."""
    profile = replace(with_keys(read_profile("chip"), CHIP_KEYS), freshness_s=0)
    pinpad = profile.pinpad(CHIP_KEYS)
    bank = FakeIssuer(WALLET, pinpad, profile=profile, twist=lambda _request, answer: _without_chip_data(answer))
    async with bank, Switch("127.0.0.1", bank.port, clock=clock, profile=profile) as switch:
        atm = switch.terminal(pinpad, TerminalKind.ATM, 1)
        approved = await atm.withdraw(CARDS[0], 10_000)
        declined = await atm.withdraw(CARDS[0], 10_000, wrong_pin(CARDS[0].pin))
        shown = [message for message in bank.seen if message.mti == "0200"]
    assert (None, "the approval of 0200 has no ARPC (DE55, tag 91)") == (approved.answer, approved.failure)
    assert "55" == declined.code
    good = FakeIssuer(WALLET, pinpad, profile=profile)
    async with good, Switch("127.0.0.1", good.port, clock=clock, profile=profile) as switch:
        assert (await switch.terminal(pinpad, TerminalKind.ATM, 1).withdraw(CARDS[0], 10_000)).approved
    assert [("051", True)] * 2 == [(message.fields[22], 55 in message.fields) for message in shown]

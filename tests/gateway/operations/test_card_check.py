"""Tests of gateway.operations.card_check through the listener, over PostgreSQL: chips, stripes and DUKPT terminals."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from gateway.app import open_bank, run_service
from gateway.errors import Refused
from gateway.operations import card
from gateway.rules.card import CardEvent, CardState
from gateway.simulator.terminal import Asked, TerminalKind
from iso import tlv
from iso.message import Message
from keys.cvv import CardValue
from keys.emv_profile import profiles
from keys.keytypes import KeyState, KeyUsage
from keys.sensitive import Pin
from tests.gateway.cage import Cage, tables
from tests.gateway.chips import (
    FALLBACK,
    IMK,
    by_stripe,
    chip_of,
    give_keys,
    last_atcs,
    link_file,
    send,
    street_of,
    tries,
    with_chip,
)
from tests.gateway.operations.test_lane import lose_commits
from tests.gateway.street import AID_IDR, assert_proved, available_idr, open_street, reasons, stand_before

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import Settings
    from gateway.simulator.exchange import Exchange

WRONG = Pin("314159")
CHIP: dict[str, Any] = {"chip": "required", "stripe_value": "required"}
OPTIONAL: dict[str, Any] = {"chip": "optional", "stripe_value": "optional"}


def field_55(exchange: Exchange) -> str:
    """DE55 of an answer; "" where there is none."""
    return "" if exchange.answer is None else exchange.answer.get(55, "")


async def test_a_chip_is_verified_and_answered(bank_settings: Settings, tmp_path: Path) -> None:
    """Approved or declined, the answer holds what the card believes; a right cryptogram counts, whatever is decided."""
    async with street_of(bank_settings, tmp_path, **CHIP) as street:
        chip = chip_of(street.card, atc=41)
        for amount, code in ((10_000, "00"), (990_000, "51")):
            message = with_chip(street.atm, chip, amount)
            done = await street.atm.send(message)
            assert code == done.code
            assert chip.believes(message.fields[55], field_55(done), code)
        assert ["APPROVED", "INSUFFICIENT_FUNDS"] == await reasons(street.bank)
        assert [43] == await last_atcs(street.bank)
        balance = street.atm.request(Asked.BALANCE, street.card, 0)
        balance.fields[55] = chip.sign(balance.fields[4], street.card.expires)
        assert "00" == await send(street, balance)


async def test_a_wrong_cryptogram(bank_settings: Settings, tmp_path: Path) -> None:
    """Of another card, key, amount, or of a version that is not the scheme's: 63, no try, no counter, nothing for the chip."""
    async with street_of(bank_settings, tmp_path, families=2, **CHIP) as street:
        good, other = (chip_of(card) for card in street.wallet.cards)
        messages = [with_chip(street.atm, good) for _ in range(5)]
        messages[0].fields[55] = other.sign(messages[0].fields[4], street.card.expires)
        messages[1].fields[55] = replace(good, imk=bytes(range(16))).sign(messages[1].fields[4], street.card.expires)
        messages[2].fields[4] = "000099000000"
        messages[3].fields[55] = good.sign(messages[3].fields[4], street.card.expires, t9F27="40")
        tags = dict(tlv.parse(bytes.fromhex(messages[4].fields[55])))
        tags["9F10"] = b"\x01\x09" + tags["9F10"][2:]
        messages[4].fields[55] = tlv.build(tags.items()).hex().upper()
        for message in messages:
            message.fields[52] = street.pinpad.block(street.card.pan, WRONG)
            done = await street.atm.send(message)
            assert ("63", "") == (done.code, field_55(done))
        assert ["CHIP_WRONG"] * 5 == await reasons(street.bank)
        assert ([3, 3], [None, None]) == (await tries(street.bank), await last_atcs(street.bank))
        assert AID_IDR == await available_idr(street.bank, street.families[0].family_id)


async def test_a_cryptogram_counts_once(bank_settings: Settings, tmp_path: Path) -> None:
    """In another message it is a replay, also after the service was started again, and behind a later one; a jump is refused."""
    settings = bank_settings.model_copy(update={"links_file": link_file(tmp_path, **CHIP, chip_window=10)})
    async with open_bank(settings) as bank:
        give_keys(bank)
        async with open_street(bank, tmp_path) as street:
            families, wallet, chip = street.families, street.wallet, chip_of(street.card, atc=99)
            used = [with_chip(street.atm, chip) for _ in range(2)]
            assert ["00", "00"] == [await send(street, one) for one in used]
    async with open_bank(settings) as bank, run_service(bank, jobs=False) as service:
        async with stand_before(bank, service, wallet, families) as street:
            atm = street.terminal(TerminalKind.ATM, 9, 900_000)
            for one in used:
                again = atm.request(Asked.CASH, street.card, 10_000)
                again.fields |= {22: "051", 55: one.fields[55]}
                assert "63" == await send(street, again)
            chip.atc = 111
            assert ["63", "63"] == [await send(street, with_chip(atm, chip)) for _ in range(2)]
            chip.atc = 110
            assert ["00", "00"] == [await send(street, with_chip(atm, chip)) for _ in range(2)]
        assert ["CHIP_REPLAYED"] * 2 + ["CHIP_AHEAD"] * 2 + ["APPROVED"] * 2 == (await reasons(bank))[2:]
        assert ([112], [3]) == (await last_atcs(bank), await tries(bank))
        await assert_proved(bank)


async def test_a_repeat_is_answered_with_its_own_cryptogram(bank_settings: Settings, tmp_path: Path) -> None:
    """The same message, also in flight: the same answer, DE55 too. With another cryptogram: no DE55, so it proves nothing."""
    async with street_of(bank_settings, tmp_path, **CHIP) as street, street.new_switch() as other:
        chip = chip_of(street.card)
        for amount in (10_000, 990_000):
            message = with_chip(street.atm, chip, amount)
            clients = (street.switch.client, other.client) * 4
            answers = await asyncio.gather(*(client.request(replace(message), again=True) for client in clients))
            assert [answers[0].fields] * 8 == [one.fields for one in answers]
            assert chip.believes(message.fields[55], answers[0].fields[55], answers[0].fields[39])
            swapped = Message("0201", message.fields | {55: chip.sign(message.fields[4], street.card.expires)})
            done = await street.atm.send(swapped)
            assert (answers[0].fields[39], "") == (done.code, field_55(done))
        assert ([3], 2) == (await last_atcs(street.bank), len(await reasons(street.bank)))


async def test_a_commit_that_never_arrived_moves_no_counter(
    bank_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group is decided again, and the cryptogram is new to it; after a lost answer the stored one is told, ARPC too."""
    async with street_of(bank_settings, tmp_path, **CHIP) as street:
        chip = chip_of(street.card)
        for committed in (False, True):
            with monkeypatch.context() as patch:
                lose_commits(patch, committed=committed, times=1)
                message = with_chip(street.atm, chip)
                done = await street.atm.send(message)
                assert "00" == done.code
                assert chip.believes(message.fields[55], field_55(done), "00")
        assert (["APPROVED"] * 2, [2]) == (await reasons(street.bank), await last_atcs(street.bank))


async def test_a_chip_that_has_counted_too_far_is_trusted_again(bank_settings: Settings, tmp_path: Path) -> None:
    """Once, by somebody with a reason; what it told before is a replay all the same."""
    async with street_of(bank_settings, tmp_path, **CHIP) as street:
        chip = chip_of(street.card)
        old = with_chip(street.atm, chip)
        assert "00" == await send(street, old)
        chip.atc = 1_000
        assert "63" == await send(street, with_chip(street.atm, chip))
        number = street.families[0].card_id
        with pytest.raises(Refused, match="reason"):
            await card.change_state(street.bank, "branch", number, CardEvent.TRUST_CHIP, "")
        state = await card.change_state(street.bank, "branch", number, CardEvent.TRUST_CHIP, "used abroad for a year")
        again = street.atm.request(Asked.CASH, street.card, 10_000)
        again.fields |= {22: "051", 55: old.fields[55]}
        assert (CardState.ACTIVE, "63") == (state, await send(street, again))
        assert "00" == await send(street, with_chip(street.atm, chip))
        chip.atc = 2_000
        assert "63" == await send(street, with_chip(street.atm, chip))
        assert [1_002] == await last_atcs(street.bank)


async def test_chips_on_two_lanes_at_once(bank_settings: Settings, tmp_path: Path) -> None:
    """Many cards, each cryptogram in two messages at once: one is approved, the other a replay."""
    async with street_of(bank_settings, tmp_path, families=12, **CHIP) as street, street.new_switch() as other:
        twins = []
        for card in street.wallet.cards:
            one = with_chip(street.atm, chip_of(card))
            twins += [(street.switch, one), (other, street.agent.request(Asked.CASH, card, 10_000))]
            twins[-1][1].fields |= {22: "051", 55: one.fields[55]}
        answers = await asyncio.gather(*(switch.client.request(message) for switch, message in twins))
        codes = [one.get(39, "") for one in answers]
        assert [["00", "63"]] * 12 == [sorted(pair) for pair in zip(codes[::2], codes[1::2], strict=True)]
        assert {1} == set(await last_atcs(street.bank))


async def test_what_is_missing_where_it_is_required(bank_settings: Settings, tmp_path: Path) -> None:
    """No chip data, a fallback, a stripe without its value: 58, before the PIN; malformed chip data: 30."""
    async with street_of(bank_settings, tmp_path, **CHIP) as street:
        chip = chip_of(street.card)
        missing = [street.atm.request(Asked.CASH, street.card, 10_000) for _ in range(2)]
        del missing[1].fields[22]
        missing += [by_stripe(street.atm, chip, chip.track2("601"), de22) for de22 in ("901", "021", FALLBACK)]
        missing.append(by_stripe(street.atm, chip, chip.track2()[:-3]))
        for message in missing:
            message.fields[52] = street.pinpad.block(street.card.pan, WRONG)
        assert ["58"] * 6 == [await send(street, one) for one in missing]
        expected = ["CHIP_MISSING"] * 2 + ["FALLBACK_REFUSED"] * 3 + ["STRIPE_VALUE_MISSING"]
        assert expected == await reasons(street.bank)
        malformed = with_chip(street.atm, chip)
        malformed.fields[55] = malformed.fields[55][:-2]
        assert "30" == await send(street, malformed)
        assert [3] == await tries(street.bank)


async def test_the_value_of_a_stripe(bank_settings: Settings, tmp_path: Path) -> None:
    """Right, wrong, of the chip, of another service code: only the stripe's own is."""
    async with street_of(bank_settings, tmp_path, **CHIP) as street:
        chip = chip_of(street.card)
        track = chip.track2()
        wrong = track[:-3] + f"{(int(track[-3:]) + 1) % 1_000:03d}"
        from_chip = chip.track2("501", from_chip=True)
        forged = chip.track2("601").replace("601000", "101000", 1)
        codes = [await send(street, by_stripe(street.atm, chip, one)) for one in (track, wrong, from_chip, forged)]
        assert ["00", "63", "63", "63"] == codes
        assert ["APPROVED", *["STRIPE_VALUE_WRONG"] * 3] == await reasons(street.bank)


async def test_optional_means_right_or_absent(bank_settings: Settings, tmp_path: Path) -> None:
    """What comes is verified; what does not come is not missed. A fallback is let through where the profile says so."""
    async with street_of(bank_settings, tmp_path, **OPTIONAL, chip_fallback="allowed") as street:
        chip = chip_of(street.card)
        assert "00" == await send(street, street.atm.request(Asked.CASH, street.card, 10_000))
        assert "00" == await send(street, with_chip(street.atm, chip))
        assert "00" == await send(street, by_stripe(street.atm, chip, chip.track2("601"), FALLBACK))
        assert "00" == await send(street, by_stripe(street.atm, chip, chip.track2()[:-3]))
        track = chip.track2()
        assert "63" == await send(street, by_stripe(street.atm, chip, track[:-1] + str((int(track[-1]) + 1) % 10)))
        wrong = with_chip(street.atm, chip)
        wrong.fields[4] = "000099000000"
        assert "63" == await send(street, wrong)


async def test_a_key_of_the_issuer_is_rotated(bank_settings: Settings, tmp_path: Path) -> None:
    """Cards of either version are believed while both work; the index in tag 9F10 says which is tried first."""
    async with street_of(bank_settings, tmp_path, **CHIP) as street:
        hsm = street.bank.hsm
        new = [bytes(range(16)), b"\x77" * 16]
        hsm.form(KeyUsage.ISSUER_CRYPTOGRAM, "imk-ac", new)
        old = chip_of(street.card)
        joined = bytes(one ^ other for one, other in zip(*new, strict=True))
        fresh = replace(old, imk=joined, key_index=2, atc=50)
        assert ["00", "00"] == [await send(street, with_chip(street.atm, one)) for one in (old, fresh)]
        hsm.set_state(hsm.version("imk-ac", 1), KeyState.DEACTIVATED)
        late = replace(old, atc=60)
        assert ["63", "00"] == [await send(street, with_chip(street.atm, one)) for one in (late, fresh)]


async def test_cards_of_several_schemes_at_one_link(bank_settings: Settings, tmp_path: Path) -> None:
    """Each is verified and answered by its own profile's rules; a version of none is refused. A method 2 answer has 8 bytes."""
    names = ("nsiccs", "visa-cvn10", "visa-cvn18", "mchip-cvn14")
    async with street_of(bank_settings, tmp_path, families=5, chip="required", chip_profile=list(names)) as street:
        for card, name in zip(street.wallet.cards, names, strict=False):
            chip = replace(chip_of(card), profile=profiles()[name])
            for amount, code in ((10_000, "00"), (990_000, "51")):
                message = with_chip(street.atm, chip, amount)
                done = await street.atm.send(message)
                assert code == done.code
                assert chip.believes(message.fields[55], field_55(done), code)
        other = replace(chip_of(street.wallet.cards[4]), profile=profiles()["mchip"])
        assert "63" == await send(street, with_chip(street.atm, other))
        assert [2, 2, 2, 2, None] == await last_atcs(street.bank)


async def test_a_link_whose_key_is_not_there(bank_settings: Settings, tmp_path: Path) -> None:
    """A bank without the issuer's keys: a link that wants none of them needs none."""
    settings = bank_settings.model_copy(update={"links_file": link_file(tmp_path)})
    async with open_bank(settings) as bank, open_street(bank, tmp_path) as street:
        assert "00" == await send(street, street.atm.request(Asked.CASH, street.card, 10_000))


@pytest.mark.parametrize("kind", [CardValue.CVV1, CardValue.ICVV])
async def test_requirement_15_nothing_of_a_card_is_kept(
    bank_settings: Settings, tmp_path: Path, kind: CardValue, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither cryptogram nor track nor PIN block stands in a table or log: only eight digits of the cryptogram's digest."""
    caplog.set_level("DEBUG")
    async with street_of(bank_settings, tmp_path, **CHIP) as street:
        chip = chip_of(street.card)
        by_chip = with_chip(street.atm, chip)
        by_chip.fields[35] = chip.track2("601", from_chip=kind is CardValue.ICVV)
        stripe = by_stripe(street.atm, chip, chip.track2())
        wrong = with_chip(street.atm, chip, t9F02="000099000000")
        with structlog.testing.capture_logs() as logged:
            done = [await street.atm.send(one) for one in (by_chip, stripe, wrong)]
        assert ["00", "00", "63"] == [one.code for one in done]
        assert ["CHIP_WRONG"] == [one["reason"] for one in logged if one["event"] == "card.refused"]
        cage = Cage(await tables(street.bank) | {"log": f"{logged} {caplog.text}"})
        tags = dict(tlv.parse(bytes.fromhex(by_chip.fields[55])))
        cage.canaries = {
            "chip data": by_chip.fields[55], "cryptogram": tags["9F26"].hex().upper(), "answer": field_55(done[0]),
            "arpc": field_55(done[0])[4:20], "track": stripe.fields[35], "chip track": by_chip.fields[35],
            "rest of the track": stripe.fields[35].partition("=")[2], "PIN block": stripe.fields[52],
            "wrong chip data": wrong.fields[55],
        }  # fmt: skip
        assert [] == cage.escaped()
        assert IMK[0].hex() not in "".join(cage.seen.values())


async def test_a_chip_hears_of_a_partial_approval(bank_settings: Settings, tmp_path: Path) -> None:
    """The card signed what was asked for; its answer is made over the code that approves a part."""
    async with street_of(bank_settings, tmp_path, partial_approval="purchases", **CHIP) as street:
        chip = chip_of(street.card, atc=41)
        message = street.shop.request(Asked.PURCHASE, street.card, AID_IDR + 10_000)
        message.fields |= {22: "051", 55: chip.sign(message.fields[4], street.card.expires)}
        done = await street.shop.send(message)
        assert ("10", AID_IDR) == (done.code, done.approved_idr)
        assert chip.believes(message.fields[55], field_55(done), "10")
        again = await street.shop.repeat(done)
        assert again.same_answer(done)

"""The bank before a switch team that has only its interface specification: over TCP, with another codec and other PIN blocks."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway import clock
from gateway.terminals.links_file import DEFAULT_FILE
from tests.gateway.stranger import BASE24, EDC, HIMBARA, MAINFRAME, Line, Machine, not_echoed, terminal_pin, zone_pin
from tests.gateway.stranger_sheet import EXCHANGES, HARMLESS, damaged, two_bitmaps
from tests.gateway.street import assert_proved, available_idr, open_street

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.operations.bank import Bank

MORE = """
[[link]]
name = "mainframe"
acquirer = "000021"
port_offset = 2
dialect = "ebcdic"
frame = "binary2"
frame_inclusive = true
largest_frame = 4096
amount_exponent = 2
pin_key = "zpk-mainframe"
sign_on_required = true

[[link]]
name = "base24"
acquirer = "000031"
port_offset = 3
dialect = "himbara"
frame = "binary4"
largest_frame = 4096
header = "static"
header_hex = "49534F303236303030303730"
amount_exponent = 2
pin_key = "zpk-base24"
sign_on_required = true

[[link]]
name = "nervous"
acquirer = "000041"
port_offset = 4
dialect = "himbara"
frame = "ascii4"
largest_frame = 4096
amount_exponent = 2
pin_key = "zpk-nervous"
sign_on_required = true
frame_timeout_s = 0.6
chip = "optional"
answer_timeout_s = 2.0
connections_max = 20
[link.outgoing]
hot_list = true
retry_s = 0.3
"""
CALLER = """
name = "caller"
acquirer = "000051"
dialect = "edc"
frame = "binary2"
largest_frame = 4096
header = "tpdu"
header_hex = "6001230003"
amount_exponent = 2
pin_key = "zpk-caller"
sign_on_required = true
reconnect_s = 0.1
echo_s = 0.3
answer_timeout_s = 0.5
"""
WIRES = {"himbara": HIMBARA, "edc": EDC, "mainframe": MAINFRAME, "base24": BASE24, "nervous": HIMBARA}
ACQUIRERS = {"himbara": "000002", "edc": "000014", "mainframe": "000021", "base24": "000031", "nervous": "000041"}
AID_IDR = 600_000
SENSELESS = (
    ("himbara", b"9999"), ("himbara", b"0000"), ("himbara", b"-001"), ("himbara", b"GET "), ("himbara", b"\x00\x5002"),
    ("edc", b"\xff\xff"),
    ("edc", b"\x00\x05"), ("mainframe", b"\x00\x01"), ("base24", b"\x7f\xff\xff\xff"), ("base24", b"\x00\x00\x00\x0c"),
)  # fmt: skip
CRAFTED = ("9F10887FFFFFFFFFFFFFFF", "9F1088FFFFFFFFFFFFFFFF01", "9F1080", "9F", "5F2A0203609F1084FFFFFFFF", "9F26FF00")
"""Chip data whose lengths lie; 2^63 is the first."""


@dataclass
class Town:
    """The service with five links, a family for each, and the keys that the bank gave to each switch."""

    bank: Bank
    addresses: dict[str, tuple[str, int]]
    keys: dict[str, bytes]
    cards: list[str]
    families: list[int]
    lines: list[Line] = field(default_factory=list)

    def machine(self, name: str) -> Machine:
        """A terminal of a link with its family's card."""
        number = list(WIRES).index(name)
        pad = (
            zone_pin(self.keys[f"zpk-{name}"])
            if name != "edc"
            else terminal_pin(self.keys["bdk-edc"], "FFFF9876543210E00000")
        )
        return Machine(
            self.cards[number], pad, f"{clock.now():%m%d%H%M%S}", ACQUIRERS[name], terminal=f"T000000{number}"
        )

    async def line(self, name: str, *, signed_on: bool = True) -> Line:
        """A connection to a link."""
        line = await Line.call(WIRES[name], self.addresses[name])
        self.lines.append(line)
        if signed_on:
            assert "00" == await line.sign_on()
        return line

    async def left_idr(self, name: str) -> int:
        """What the ledger has of the family of that link."""
        return await available_idr(self.bank, self.families[list(WIRES).index(name)])


@asynccontextmanager
async def open_town(bank: Bank, folder: Path, more: str = "") -> AsyncIterator[Town]:
    """Five links: the two that are shipped, EBCDIC with an inclusive length, a static header, narrow bounds. MORE: another."""
    links = folder / "links.toml"
    links.write_text(
        DEFAULT_FILE.read_text(encoding="utf-8") + MORE + (f"[[link]]\n{more}" if more else ""), encoding="utf-8"
    )
    bank.settings = bank.settings.model_copy(update={"links_file": links})
    async with open_street(bank, folder, len(WIRES)) as street:
        keys = {}
        for key in json.loads((bank.settings.data_dir / "simulator" / "test-keys.json").read_text(encoding="utf-8")):
            one, other = (int(part, 16) for part in key["components"])
            keys[key["label"]] = (one ^ other).to_bytes(16)
        addresses = {place.link.name: place.address for place in street.service.room.places}
        cards = [card.pan.reveal() for card in street.wallet.cards]
        town = Town(bank, addresses, keys, cards, [holder.family_id for holder in street.families])
        try:
            yield town
        finally:
            await asyncio.gather(*(line.close() for line in town.lines))
    await assert_proved(bank)


async def test_the_sheet(bank: Bank, tmp_path: Path) -> None:
    """Each exchange of the sheet, on four kinds of wire: type, code, echoes and the balance told, parsed strictly."""
    async with open_town(bank, tmp_path) as town:
        for name in ("himbara", "edc", "mainframe", "base24"):
            machine, line, was = town.machine(name), await town.line(name, signed_on=False), dict[str, dict[str, str]]()
            first = machine.request()
            assert ("00" if name == "edc" else "91") == (await line.ask("0200", first))[1]["39"]
            if name == "edc":
                await line.ask("0420", machine.reversal(first))
            for exchange in EXCHANGES:
                sent = was[exchange.name] = exchange.make(machine, was)
                mti, got = await line.ask(exchange.mti, sent)
                left = None if exchange.left_idr is None else f"1002360C{0:012d}9802360C{exchange.left_idr * 100:012d}"
                expected: tuple[object, ...] = (exchange.answer, exchange.code, left, [])
                assert (name, exchange.name, *expected) == (
                    name, exchange.name, mti, got["39"], got.get("54"), not_echoed(sent, got),
                )  # fmt: skip
                assert not {"14", "18", "22", "35", "43", "52", "53", "62"} & set(got)
            last = await line.ask("0200", machine.request("310000", 0))
            assert ("41" if name == "edc" else "91") == last[1]["39"]


async def test_what_hosts_of_the_field_send(bank: Bank, tmp_path: Path) -> None:
    """Whatever stands in fields that the link does not use, and however a host pads: a balance is told, echoes as sent."""
    async with open_town(bank, tmp_path) as town:
        for name in ("himbara", "edc", "mainframe"):
            machine, line = town.machine(name), await town.line(name)
            acquirer = machine.acquirer
            for number, text in HARMLESS:
                value = text.format(short=acquirer.lstrip("0"), long=f"{acquirer:0>11}") if number == "32" else text
                sent = machine.request("310000", 0) | {number: value}
                mti, got = await line.ask("0200", sent)
                assert (name, number, value, "0210", "00", []) == (
                    name, number, value, mti, got["39"], not_echoed(sent, got),
                )  # fmt: skip
            sent = machine.request("310000", 0)
            await line.send(line.wire.frame(two_bitmaps(line.wire, line.wire.write("0200", sent))))
            mti, got = await line.receive()
            assert (name, "0210", "00", []) == (name, mti, got["39"], not_echoed(sent, got))
        line = await town.line("himbara")
        small = town.machine("himbara").request("310000", 0)
        small["11"], small["52"] = "800001", small["52"].lower()
        written = line.wire.write("0200", small)
        await line.send(line.wire.frame(written[:20].lower() + written[20:]))
        assert "00" == (await line.receive())[1]["39"]


async def test_what_is_no_message(bank: Bank, tmp_path: Path) -> None:
    """Damaged messages are answered 30, each once, crafted lengths within them too, and the line lives on."""
    async with open_town(bank, tmp_path) as town:
        for name in ("himbara", "edc", "mainframe", "base24"):
            machine, line = town.machine(name), await town.line(name)
            whole = line.wire.write("0200", machine.request())
            for about, message in damaged(line.wire, whole).items():
                await line.send(line.wire.frame(message))
                _, got = await line.receive()
                assert (name, about, "30", "00") == (name, about, got["39"], await line.sign_on("301"))
            assert AID_IDR == await town.left_idr(name)
        line, machine = await town.line("nervous"), town.machine("nervous")
        for chip in CRAFTED:
            crafted = machine.request("310000", 0) | {"22": "051", "55": chip}
            assert (chip, "30") == (chip, (await line.ask("0200", crafted))[1]["39"])
        line = await town.line("base24")
        await line.send(b"\x00\x00\x00\x20ISO999999999" + b"0" * 20)
        assert "30" == (await line.receive())[1]["39"]
        assert "00" == await line.sign_on("301")


async def test_lengths_that_make_no_sense(bank: Bank, tmp_path: Path) -> None:
    """The message before it is answered, then the bank closes at once; others are not disturbed."""
    async with open_town(bank, tmp_path) as town:
        for name, length in SENSELESS:
            line, other, machine = await town.line(name), await town.line(name), town.machine(name)
            echo = line.wire.frame(line.wire.write("0800", {"7": machine.transmitted, "11": "000077", "70": "301"}))
            await line.send(echo + length + b"0" * 8)
            assert (name, length, "000077") == (name, length, (await line.receive())[1]["11"])
            assert await line.closed()
            assert "00" == await other.sign_on("301")


async def test_segments(bank: Bank, tmp_path: Path) -> None:
    """Bytes come as the network cuts them: one at a time, many messages at once, sign-on and money together."""
    async with open_town(bank, tmp_path) as town:
        for name in ("himbara", "edc", "mainframe", "base24"):
            machine, line = town.machine(name), await town.line(name, signed_on=False)
            wire = line.wire
            on = wire.frame(wire.write("0800", {"7": machine.transmitted, "11": "900001", "70": "001"}))
            asked = [machine.request(idr=10_000) for _ in range(3)]
            await line.send(on + b"".join(wire.frame(wire.write("0200", one)) for one in [*asked, asked[0]]))
            got = [await line.receive() for _ in range(5)]
            assert ["00"] * 5 == [fields["39"] for _, fields in got]
            assert sorted([*(one["11"] for one in asked), asked[0]["11"], "900001"]) == sorted(
                one["11"] for _, one in got
            )
            for byte in wire.frame(wire.write("0200", asked[1])):
                await line.send(bytes([byte]))
                await asyncio.sleep(0)
            again = await line.receive()
            assert again in got
            assert await line.quiet()
            assert AID_IDR - 30_000 == await town.left_idr(name)


async def test_slow_and_gone(bank: Bank, tmp_path: Path) -> None:
    """A message that never ends is cut off; a header larger than what follows, then silence or a close, harms nobody."""
    async with open_town(bank, tmp_path) as town:
        slow = await town.line("nervous", signed_on=False)
        await slow.send(b"0200" + b"0" * 50)
        began = asyncio.get_running_loop().time()
        assert await slow.closed()
        assert 0.5 < asyncio.get_running_loop().time() - began < 5
        other = await town.line("himbara")
        for reset in (False, True):
            gone = await town.line("himbara", signed_on=False)
            await gone.send(b"4000" + b"0200")
            gone.hang_up(reset=reset)
        assert "00" == await other.sign_on("301")


async def test_many_at_once(bank: Bank, tmp_path: Path) -> None:
    """Two hundred requests without waiting, on two connections: each is answered once, with its own fields; money agrees."""
    async with open_town(bank, tmp_path) as town:
        stranger, lines = await town.line("himbara", signed_on=False), [await town.line("himbara") for _ in range(2)]
        refused = await stranger.ask("0200", town.machine("nervous").request("310000", 0))
        assert "91" == refused[1]["39"]  # sign-on belongs to a connection
        machine = town.machine("himbara")
        asked = [machine.request(*(("310000", 0) if number % 20 else ("010000", 1_000))) for number in range(200)]
        for one in asked:
            wire = lines[int(one["11"]) % 2].wire
            lines[int(one["11"]) % 2].writer.write(wire.frame(wire.write("0200", one)))
        got = {**await lines[0].answers(100), **await lines[1].answers(100)}
        assert 200 == len(got)
        assert [("0210", "00", [])] * 200 == [
            (got[one["11"]][0], got[one["11"]][1]["39"], not_echoed(one, got[one["11"]][1])) for one in asked
        ]
        assert 200 == len({fields["38"] for _, fields in got.values()})
        both = machine.request(idr=50_000)
        twice = await asyncio.gather(*(line.ask("0200", both) for line in lines))
        assert twice[0] == twice[1]
        assert [True, True] == [await line.quiet() for line in lines]
        assert AID_IDR - 60_000 == await town.left_idr("himbara")


async def test_reconnect_storms(bank: Bank, tmp_path: Path) -> None:
    """Connections without number, most of them cut in the middle of a request: reversed or not, the books agree."""
    async with open_town(bank, tmp_path) as town:
        machine, steady = town.machine("himbara"), await town.line("himbara")
        asked = []
        for number in range(300):
            line = await town.line("himbara", signed_on=False)
            if number % 10 == 0:
                asked.append(machine.request(idr=1_000))
                assert "00" == await line.sign_on()
                await line.send(line.wire.frame(line.wire.write("0200", asked[-1])))
            line.hang_up(reset=number % 2 == 0)
        for one in asked:
            assert "00" == (await steady.ask("0420", machine.reversal(one)))[1]["39"]
        assert AID_IDR == await town.left_idr("himbara")
        crowd = await asyncio.gather(*(town.line("nervous", signed_on=False) for _ in range(40)))
        alive = [line for line in crowd if not await _lost(line)]
        assert 20 == len(alive)
        for line in crowd:
            line.hang_up()
        await asyncio.sleep(0.05)
        assert "00" == await (await town.line("nervous")).sign_on("301")


async def test_the_bank_calls(bank: Bank, tmp_path: Path) -> None:
    """Where the bank calls it signs on, asks echoes when nothing comes, and calls again where nobody answers."""
    calls: asyncio.Queue[Line] = asyncio.Queue()
    server = await asyncio.start_server(
        lambda reader, writer: calls.put_nowait(Line(EDC, reader, writer)), "127.0.0.1", 0
    )
    called = f'role = "connect"\nhost = "127.0.0.1"\nport = {server.sockets[0].getsockname()[1]}\n{CALLER}'
    async with server, open_town(bank, tmp_path, called) as town:
        for codes in (("001",), ("001", "301", "301")):
            line = await calls.get()
            town.lines.append(line)
            for code in codes:
                mti, asked = await line.receive()
                assert ("0800", code, {"7", "11", "70"}) == (mti, asked["70"], set(asked))
                await line.send(line.wire.frame(line.wire.write("0810", asked | {"39": "00"})))
            assert ["301"] * 3 == [(await line.receive())[1]["70"] for _ in range(3)]  # and none is answered
            assert await line.closed()


async def test_the_hot_list(bank: Bank, tmp_path: Path) -> None:
    """What one partner reports another is told, and told again in the same words until it answers."""
    async with open_town(bank, tmp_path) as town:
        told, line, machine = await town.line("nervous"), await town.line("himbara"), town.machine("himbara")
        report = {
            "2": machine.pan,
            "7": machine.transmitted,
            "11": "000001",
            "60": "3001 stolen",
            "91": "1",
            "101": "HOTLIST",
        }
        mti, got = await line.ask("0302", report)
        assert ("0312", "00", report["91"], report["101"]) == (mti, got["39"], got["91"], got["101"])
        first, again = await told.receive(), await told.receive()
        assert ("0302", "0303", first[1]) == (first[0], again[0], again[1])
        assert {"2": machine.pan, "60": "3001", "91": "1", "101": "HOTLIST"} == {
            number: first[1][number] for number in ("2", "60", "91", "101")
        }
        assert {"7", "11", "37"} <= set(first[1])
        await told.send(told.wire.frame(told.wire.write("0312", first[1] | {"39": "00"})))
        assert await told.quiet(1.0)
        assert "43" == (await line.ask("0200", machine.request()))[1]["39"]


async def _lost(line: Line) -> bool:
    try:
        return await line.sign_on() != "00"
    except (asyncio.IncompleteReadError, ConnectionError):
        return True

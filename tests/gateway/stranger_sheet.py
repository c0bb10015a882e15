"""What a switch team's test sheet has: exchanges with their expected answers, and oddities that hosts of the field send."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway.stranger import Fields, Machine, Wire

Was = dict[str, "Fields"]
"""What was sent before, by the name of its exchange."""
TEXT = "".join(chr(code) for code in range(32, 127))
SHOP = "5411"
HEX = 16  # characters of a bitmap that is not binary


class Exchange(NamedTuple):
    """A request and its answer. `left_idr`: what DE54 tells of the food purse; None: there is no DE54."""

    name: str
    mti: str
    make: Callable[[Machine, Was], Fields]
    answer: str
    code: str
    left_idr: int | None = None


def _network(code: str) -> Callable[[Machine, Was], Fields]:
    return lambda m, _: {"7": m.transmitted, "11": f"9{code}00"[:6], "70": code}


def _without(fields: Fields, *numbers: str) -> Fields:
    return {number: value for number, value in fields.items() if number not in numbers}


def _advice(m: Machine, idr: int, **more: str) -> Fields:
    return _without(m.request(idr=idr), "52", "62") | {number[1:]: value for number, value in more.items()}


def _partial(m: Machine, was: Was, kept_idr: int, acquirer: str, forwarder: str) -> Fields:
    cash = was["cash"]
    return m.reversal(cash, kept_idr=kept_idr) | {"90": f"0200{cash['11']}{cash['7']}{acquirer}{forwarder}"}


def _naming(m: Machine, original: Fields, mti: str, idr: int, processing: str = "000000") -> Fields:
    return m.request(processing, idr, SHOP) | {"90": m.reversal(original, mti)["90"]}


EXCHANGES = (
    Exchange("sign-on", "0800", _network("001"), "0810", "00"),
    Exchange("echo", "0800", _network("301"), "0810", "00"),
    Exchange("cut-over", "0800", _network("201"), "0810", "00"),
    Exchange("code of nobody", "0800", _network("777"), "0810", "12"),
    Exchange("without code", "0800", lambda m, _: {"7": m.transmitted, "11": "900009"}, "0810", "30"),
    Exchange("cash", "0200", lambda m, _: m.request(), "0210", "00", 550_000),
    Exchange("again", "0200", lambda _, was: was["cash"], "0210", "00", 550_000),
    Exchange("repeat", "0201", lambda _, was: was["cash"], "0210", "00", 550_000),
    Exchange("other amount", "0200", lambda _, was: was["cash"] | {"4": "000000010000"}, "0210", "94"),
    Exchange("other terminal", "0200", lambda _, was: was["cash"] | {"41": "OTHER   "}, "0210", "94"),
    Exchange("balance", "0200", lambda m, _: m.request("310000", 0), "0210", "00", 550_000),
    Exchange("balance by 30", "0200", lambda m, _: m.request("300000", 7_000), "0210", "00", 550_000),
    Exchange("purchase", "0200", lambda m, _: m.request("000000", 10_000, SHOP), "0210", "00", 540_000),
    Exchange("food purse", "0200", lambda m, _: m.request("009800", 10_000, SHOP), "0210", "00", 530_000),
    Exchange("cash purse", "0200", lambda m, _: m.request("001000", 10_000, SHOP), "0210", "51", 530_000),
    Exchange("agent", "0200", lambda m, _: m.request("010000", 30_000, "6012"), "0210", "00", 500_000),
    Exchange("too much", "0200", lambda m, _: m.request(idr=500_001), "0210", "51", 500_000),
    Exchange("wrong PIN", "0200", lambda m, _: m.request(pin="918273"), "0210", "55"),
    Exchange("wrong PIN again", "0200", lambda _, was: was["wrong PIN"], "0210", "55"),
    Exchange("sen", "0200", lambda m, _: m.request() | {"4": "000000010050"}, "0210", "30"),
    Exchange("nothing", "0200", lambda m, _: m.request() | {"4": "000000000000"}, "0210", "13"),
    Exchange("dollars", "0200", lambda m, _: m.request() | {"49": "840"}, "0210", "12"),
    Exchange("no PIN", "0200", lambda m, _: _without(m.request(), "52"), "0210", "30"),
    Exchange("no card", "0200", lambda m, _: _without(m.request(), "2"), "0210", "30"),
    Exchange("nobody's card", "0200", lambda m, _: m.request() | {"2": "6013010000000018"}, "0210", "14"),
    Exchange("track 2", "0200", lambda m, _: _without(m.request(), "2") | m.track2(), "0210", "00", 450_000),
    Exchange("both", "0200", lambda m, _: m.request("310000", 0) | m.track2(), "0210", "00", 450_000),
    Exchange("partial", "0420", lambda m, was: _partial(m, was, 40_000, "0" * 11, "0" * 11), "0430", "00"),
    Exchange("more of it", "0420", lambda m, was: _partial(m, was, 30_000, f"{m.acquirer:0>11}", "0" * 11), "0430", "00"),
    Exchange("padded right", "0420", lambda m, was: _partial(m, was, 20_000, f"{m.acquirer:0<11}", "0" * 11), "0430", "00"),
    Exchange("both ends", "0421", lambda m, was: _partial(m, was, 10_000, f"{m.acquirer:0>11}", f"{m.acquirer:0>11}"),
             "0430", "00"),
    Exchange("40,000 back", "0200", lambda m, _: m.request("310000", 0), "0210", "00", 490_000),
    Exchange("all", "0400", lambda m, was: m.reversal(was["cash"], "0201"), "0410", "00"),
    Exchange("all again", "0401", lambda _, was: was["all"], "0410", "00"),
    Exchange("all anew", "0420", lambda m, was: m.reversal(was["cash"]) | {"95": "0" * 42}, "0430", "00"),
    Exchange("50,000 back", "0200", lambda m, _: m.request("310000", 0), "0210", "00", 500_000),
    Exchange("by reference", "0420", lambda m, was: m.reversal(was["track 2"]) | {"11": was["track 2"]["11"], "90": "0" * 42},
             "0430", "00"),
    Exchange("early", "0420", lambda m, was: m.reversal(was.setdefault("late", m.request())), "0430", "00"),
    Exchange("late", "0200", lambda _, was: was["late"], "0210", "68"),
    Exchange("of nothing", "0400", lambda m, was: m.reversal(was["cash"] | {"11": "555555"}), "0410", "25"),
    Exchange("of another amount", "0400", lambda m, was: m.reversal(was["agent"]) | {"4": "000000010000"}, "0410", "13"),
    Exchange("the same told", "0420", lambda m, was: m.reversal(was["agent"]) | {"4": "000000010000"}, "0430", "00"),
    Exchange("hold", "0100", lambda m, _: m.request("000000", 100_000, SHOP), "0110", "00", 450_000),
    Exchange("increment", "0100", lambda m, was: _naming(m, was["hold"], "0100", 50_000), "0110", "00", 400_000),
    Exchange("completion", "0220", lambda m, was: _without(_naming(m, was["hold"], "0100", 120_000), "52", "62"), "0230", "00"),
    Exchange("told again", "0221", lambda _, was: was["completion"], "0230", "00"),
    Exchange("refund", "0200", lambda m, was: _without(_naming(m, was["purchase"], "0200", 4_000, "200000"), "52", "62"),
             "0210", "00"),
    Exchange("stand-in", "0120", lambda m, _: _advice(m, 10_000, _38="123456", _39="00"), "0130", "00"),
    Exchange("declined there", "0120", lambda m, _: _advice(m, 10_000, _39="51"), "0130", "00"),
    Exchange("not known here", "0121", lambda m, _: _advice(m, 10_000, _39="00", _2="6013010000000018"), "0130", "00"),
    Exchange("without place", "0120", lambda m, _: _without(_advice(m, 10_000, _39="00"), "41"), "0130", "30"),
    Exchange("424,000 left", "0200", lambda m, _: m.request("310000", 0), "0210", "00", 424_000),
    Exchange("statement", "0200", lambda m, _: m.request("380000", 0), "0210", "00", 424_000),
    Exchange("new PIN", "0200", lambda m, _: m.change_pin("739164"), "0210", "00", 424_000),
    Exchange("old PIN", "0200", lambda m, _: m.request("310000", 0), "0210", "55"),
    Exchange("with the new", "0200", lambda m, _: m.request("310000", 0, pin="739164"), "0210", "00", 424_000),
    Exchange("totals", "0500", lambda m, _: {"7": m.transmitted, "11": "910001", "32": m.acquirer}, "0510", "00"),
    Exchange("text", "0600", lambda m, _: {"7": m.transmitted, "11": "910002", "48": TEXT}, "0610", "00"),
    Exchange("a reject", "0620", lambda m, _: {"7": m.transmitted, "11": "910003", "39": "30"}, "0630", "00"),
    Exchange("another file", "0302", lambda m, _: {"2": m.pan, "7": m.transmitted, "11": "910005", "91": "1", "101": "CARDS"},
             "0312", "24"),
    Exchange("told of it", "0322", lambda m, _: {"2": m.pan, "7": m.transmitted, "11": "910006", "91": "1", "101": "CARDS"},
             "0332", "00"),
    Exchange("lost", "0302", lambda m, _: {"2": m.pan, "7": m.transmitted, "11": "910004", "60": "3000", "91": "1"},
             "0312", "00"),
    Exchange("lost indeed", "0200", lambda m, _: m.request(), "0210", "41"),
    Exchange("no such class", "0700", lambda m, _: m.request(), "0710", "12"),
    Exchange("no such origin", "0202", lambda m, _: m.request(), "0212", "12"),
    Exchange("1993", "1200", lambda m, _: m.request(), "1210", "12"),
    Exchange("private version", "9200", lambda m, _: m.request(), "9210", "12"),
    Exchange("sign-off", "0800", _network("002"), "0810", "00"),
)  # fmt: skip

LAYOUTS = (
    f"{'JL SUDIRMAN KAV 1':33}JKT IDN", f"{'ATM KCP BOGOR':22}{'BOGOR':13}DKIID", f"{'EWARONG SITI':22}{'CIANJUR':13}   ID",
)  # fmt: skip
"""DE43 of three networks."""

HARMLESS: tuple[tuple[str, str], ...] = (
    ("32", "{short}"), ("32", "{long}"), ("41", "T1      "), ("41", "      T1"), ("41", "T-1/A  *"), ("42", f"{'M1':15}"),
    *(("43", text) for text in LAYOUTS),
    *((number, text) for number in ("48", "60", "61", "63", "126")
      for text in ("01001", "0104ABCD", "& 0000200168! Q900146 ", TEXT, " ", "9" * 999)),
    *(("55", text) for text in ("9F2608AABBCCDDEEFF0011", "DF81290230F0", "9F26", "5F2A0203609F99", "9F10887FFFFFFFFFFFFFFF")),
    ("53", "9000000000000000"), ("33", "008"), ("102", "1234567890"), ("103", "ABC-1"), ("100", "008"), ("127", "002"),
)  # fmt: skip
"""What a link that does not use it lets pass: a balance inquiry with one of them is approved. {short}, {long}: of DE32."""


def two_bitmaps(wire: Wire, message: bytes) -> bytes:
    """The same message with a second bitmap in which no bit is set, as some packages always send."""
    kind, bitmap, fields = _cut(wire, message)
    if len(bitmap) == HEX:
        return kind + f"{int(bitmap, 16) | 1 << 63:016x}".encode() + b"0" * HEX + fields
    return kind + bytes([bitmap[0] | 0x80]) + bitmap[1:] + bytes(8) + fields


def damaged(wire: Wire, message: bytes) -> dict[str, bytes]:
    """MESSAGE, whose first field is DE2, in ways in which it is none. Each must be answered 30."""
    kind, bitmap, fields = _cut(wire, message)
    return {
        "cut": message[:-3], "longer": message + b"00", "one byte": b"0", "zeros": bytes(40), "text": b"GET / HTTP/1.1\r\n\r\n",
        "type alone": kind, "half a bitmap": kind + bitmap[:4], "no field": kind + bitmap,
        "all bits": kind + b"\xff" * 16 + fields,
        "length past the end": kind + bitmap + wire.length_of_two("99") + fields[:9],
        "length of letters": kind + bitmap + b"\xaa\xbb" + fields[2:],
    }  # fmt: skip


def _cut(wire: Wire, message: bytes) -> tuple[bytes, bytes, bytes]:
    """Type, first bitmap and the rest."""
    start = len(wire.write("0200", {}))
    type_bytes = start - (8 if wire.spec["p"]["data_enc"] == "b" else HEX)
    return message[:type_bytes], message[type_bytes:start], message[start:]

"""Exploration."""
from __future__ import annotations
import asyncio, json, struct, time, traceback
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
import iso8583
from tests.gateway.stranger import *
from tests.gateway.stranger import _xor
from tests.gateway.street import open_street, assert_proved, available_idr
from tests.gateway.test_end_to_end import _sql
from gateway.terminals.links_file import DEFAULT_FILE

MORE = '''
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
expiring_in_48 = true

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
expiring_in_48 = true
'''

def keys_of(folder):
    out = {}
    for one in json.loads((folder/"simulator"/"test-keys.json").read_text()):
        a, b = (bytes.fromhex(c) for c in one["components"])
        out[one["label"]] = _xor(a, b)
    return out

@asynccontextmanager
async def town(bank, tmp_path, families=4):
    links = tmp_path/"links.toml"
    text = DEFAULT_FILE.read_text()
    links.write_text(text + MORE)
    bank.settings = bank.settings.model_copy(update={"links_file": links})
    async with open_street(bank, tmp_path, families=families) as street:
        keys = keys_of(bank.settings.data_dir)
        places = {p.link.name: p.address for p in street.service.room.places}
        yield street, keys, places

def now7():
    return datetime.now(UTC).strftime("%m%d%H%M%S")

def machine(street, keys, name, i):
    pan = street.families[i].pan.reveal() if hasattr(street.families[i].pan,'reveal') else str(street.families[i].pan._digits)
    if name == "edc":
        return Machine(pan, terminal_pin(keys["bdk-edc"], f"FFFF98765432{0x10+2*i:02X}E00000"), now7(), acquirer="000014", terminal=f"E000000{i}")
    return Machine(pan, zone_pin(keys[f"zpk-{name}"]), now7(), terminal=f"T000000{i}", acquirer={"himbara":"000002","mainframe":"000021","base24":"000031"}[name])

WIRES = {"himbara": HIMBARA, "edc": EDC, "mainframe": MAINFRAME, "base24": BASE24}

def p(*a): print(*a, flush=True)

async def test_basic(bank, tmp_path):
    async with town(bank, tmp_path) as (street, keys, places):
        for i, name in enumerate(WIRES):
            w = WIRES[name]; line = await Line.call(w, places[name]); m = machine(street, keys, name, i)
            async def go(about, mti, f):
                try:
                    t, a = await line.ask(mti, f)
                    p(name, about, t, a.get("39"), "NOT ECHOED" if not_echoed(f,a) else "", not_echoed(f,a), {k:v for k,v in a.items() if k in("38","48","54","70","90","125")})
                    return t, a
                except Exception as e:
                    p(name, about, "EXC", repr(e)[:300]); return None
            f = m.request()
            await go("before sign-on", "0200", f)
            await go("sign-on", "0800", {"7": m.transmitted, "11": "900001", "70": "001"})
            await go("echo", "0800", {"7": m.transmitted, "11": "900002", "70": "301"})
            f = m.request()
            await go("cash", "0200", f)
            await go("same again", "0200", f)
            await go("repeat 0201", "0201", f)
            await go("other amount", "0200", f | {"4": "000001000000"})
            await go("balance", "0200", m.request("310000", 0))
            await go("balance30", "0200", m.request("300000", 50_000))
            await go("purchase", "0200", m.request("000000", 10_000, "5411"))
            await go("purse98", "0200", m.request("009800", 10_000, "5411"))
            await go("wrong", "0200", m.request(pin="111222"))
            r = m.reversal(f)
            await go("rev", "0420", r); await go("rev again", "0420", r); await go("rev 0421", "0421", r)
            await go("rev anew", "0420", m.reversal(f))
            await go("rev anew", "0400", m.reversal(f))
            f2 = m.request()
            await go("rev before", "0420", m.reversal(f2)); await go("late", "0200", f2)
            f3 = m.request(); await go("cash", "0200", f3); await go("partial", "0420", m.reversal(f3, kept_idr=20_000)); 
            await go("balance", "0200", m.request("310000", 0))
            await go("track2", "0200", {k:v for k,v in m.request().items() if k != "2"} | {"35": m.pan + "=311220100000123"})
            await go("hold", "0100", m.request("000000", 10_000, "5411"))
            await go("statement", "0200", m.request("380000", 0))
            await go("unknown mti", "0700", m.request())
            await go("unknown mti 9", "9200", m.request())
            await go("0600", "0600", {"7": m.transmitted, "11": "900012", "48":"halo"})
            await go("0500", "0500", {"7": m.transmitted, "11": "900013", "32": m.acquirer})
            await go("0302", "0302", {"2": m.pan, "7": m.transmitted, "11": "900014", "32": m.acquirer, "91":"9","60":"3000","101":"HOTLIST"})
            await go("sign-off", "0800", {"7": m.transmitted, "11": "900003", "70": "002"})
            await go("after", "0200", m.request())
            await line.hang_up()
    await assert_proved(bank)

def zero_second(message, raw=False):
    if raw:
        first = bytearray(message[2:10]); first[0] |= 0x80
        return message[:2] + bytes(first) + bytes(8) + message[10:]
    first = int(message[4:20], 16) | 1 << 63
    return message[:4] + f"{first:016X}".encode() + b"0"*16 + message[20:]

async def test_odd(bank, tmp_path):
    async with town(bank, tmp_path) as (street, keys, places):
        for i, name in enumerate(("himbara", "edc", "mainframe")):
            w = WIRES[name]; line = await Line.call(w, places[name]); m = machine(street, keys, name, i)
            async def raw(about, data, f=None, count=1):
                nonlocal line
                try:
                    await line.send(data)
                    for _ in range(count):
                        t, a = await line.receive()
                        p(name, about, t, a.get("39"), not_echoed(f,a) if f else a)
                except Exception as e:
                    p(name, about, "EXC", repr(e)[:200])
                    line = await Line.call(w, places[name]); await line.ask("0800", {"7": m.transmitted, "11": "900001", "70": "001"})
            async def go(about, mti, f):
                try: data = w.frame(w.write(mti, f))
                except Exception as e: p(name, about, "ENC", repr(e)[:100]); return
                await raw(about, data, f)
            await go("sign-on", "0800", {"7": m.transmitted, "11": "900001", "70": "001"})
            B = lambda **k: m.request("310000", 0) | k
            await raw("zero second", w.frame(zero_second(w.write("0200", B()), name != "himbara") if name != "mainframe" else w.write("0200", B())))
            if name == "himbara":
                f = B(); await raw("lower hex bitmap", w.frame(w.write("0200", f)[:4] + w.write("0200", f)[4:20].lower() + w.write("0200", f)[20:]), f)
                f = B(); f["52"] = f["52"].lower(); await go("lower hex 52", "0200", f)
            f = B(); f["32"] = "2"; await go("32 short", "0200", f)
            f = B(); f["32"] = "00000000002"; await go("32 long", "0200", f)
            for de41 in ("T1      ", "      T1", "T1", "00000001", "T-1/A  *"): await go("41 "+de41, "0200", B(**{"41": de41}))
            await go("42 short pad", "0200", B(**{"42": "M1".ljust(15)}))
            await go("42 blank", "0200", B(**{"42": " "*15}))
            await go("41 blank", "0200", B(**{"41": " "*8}))
            for x in ("JL SUDIRMAN KAV 1".ljust(33)+"JKT IDN", "ATM KCP BOGOR".ljust(22)+"BOGOR".ljust(13)+"DKIID", "EWARONG SITI".ljust(22)+"CIANJUR".ljust(13)+"   ID"):
                await go("43", "0200", B(**{"43": x}))
            for n in ("48","60","61","63","120","126"):
                for v in ("x", "01001", "0104ABCD", "& 0000200168! Q900146 ", "@#~|\\^{}<>\"'`"*3, " " * 30, "9"*999, ""):
                    await go(f"{n} {v[:20]!r}", "0200", B(**{n: v}))
            if name != "edc": await go("62", "0200", B(**{"62": "x"}))
            for v in ("9F2608AABBCCDDEEFF0011", "DF81290230F0", "9F26", "FF", "5F2A0203609F99", "9F3703112233DF7F00", "00000000", "9F1B887FFFFFFFFFFFFFFF"+"00"*20, ""):
                await go(f"55 {v}", "0200", B(**{"55": v}))
            await go("53", "0200", B(**{"53": "9000000000000000"}))
            await go("0800 7 11 70", "0800", {"7": m.transmitted, "11": "900005", "70": "301"})
            await go("0800 11 70", "0800", {"11": "900005", "70": "301"})
            await go("0800 70", "0800", {"70": "301"})
            await go("0800 no 70", "0800", {"7": m.transmitted, "11": "900005"})
            await go("0800 999", "0800", {"7": m.transmitted, "11": "900005", "70": "999"})
            await go("0800 101", "0800", {"7": m.transmitted, "11": "900005", "70": "101", "48": "x"})
            await go("0801", "0801", {"7": m.transmitted, "11": "900005", "70": "301", "33": "008"})
            await go("0820", "0820", {"7": m.transmitted, "11": "900005", "70": "301"})
            for mti in ("0000", "0210", "0250", "1200", "2200", "0240", "0280", "0299", "9999", "0900", "0130", "0209", "0202", "0203"):
                f = B(); data = w.frame(w.write(mti, f)); await line.send(data)
                try:
                    async with asyncio.timeout(0.3): t,a = await line.receive(); p(name, mti, t, a.get("39"), not_echoed(f,a))
                except TimeoutError: p(name, mti, "silence")
            await raw("garbage", w.frame(b"hello world, this is no message"))
            await raw("bytes", w.frame(bytes(range(256))))
            await raw("short", w.frame(b"02"))
            await raw("mti only", w.frame(w.write("0200", {})[:4 if name!="edc" else 2]))
            await raw("bitmap only", w.frame(w.write("0200", {})))
            whole = w.write("0200", B())
            await raw("truncated", w.frame(whole[:-5]))
            await raw("trailing", w.frame(whole + b"00"))
            await raw("third bitmap", w.frame(w.write("0200", B(**{"70":"301"}))[:0] or b"0200" ))
            bad = whole.replace(m.pan.encode(), m.pan[:-1].encode() + b"X") if name=="himbara" else whole
            await raw("pan X", w.frame(bad))
            await raw("two in one", w.frame(w.write("0200", B()))*2 + w.frame(w.write("0800", {"7": m.transmitted, "11": "900005", "70": "301"})), None, 3)
            data = w.frame(w.write("0200", B()))
            for byte in data[:-1]: await line.send(bytes([byte])); await asyncio.sleep(0)
            await raw("byte by byte", data[-1:])
            await raw("llvar past end", w.frame(whole[:20] + b"99" + whole[22:]) if name=="himbara" else w.frame(whole[:10]+b"\x99"+whole[11:]))
            await raw("huge header", {"himbara": b"9999", "edc": b"\xff\xff", "mainframe": b"\xff\xff"}[name] + b"x"*10)
            await raw("zero header", {"himbara": b"0000", "edc": b"\0\0", "mainframe": b"\0\2"}[name])
            await go("alive", "0800", {"7": m.transmitted, "11": "900006", "70": "301"})
            await line.hang_up()
    await assert_proved(bank)

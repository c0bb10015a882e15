"""Tests of gateway.cli.links: `kks link check / list / show / status`."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.app import open_bank, open_keystore, run_service
from gateway.operations import desk
from gateway.operations.desk import Asked, Done
from gateway.settings import load_settings
from gateway.terminals.links_file import DEFAULT_FILE
from gateway.testlink import ensure_test_link
from keys.keytypes import KeyUsage
from tests.gateway.cli.beside import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

    from gateway.operations.bank import Transaction
    from tests.gateway.cli.shell import Shell

SHIPPED = DEFAULT_FILE.read_text(encoding="utf-8").replace("[response_codes]", "[link.response_codes]")
FIRST = "[[link]]" + SHIPPED.partition("[[link]]")[2].partition("[[link]]")[0]


def _file(folder: Path, text: str) -> str:
    path = folder / "links.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_check(shell: Shell, tmp_path: Path) -> None:
    """A right file is ok; a wrong one is one line and exit 1; with a keystore its keys are looked for too."""
    file = _file(tmp_path, FIRST)
    assert "himbara: ok\n" == shell.text("link", "check", file)
    assert {"ok": True, "links": ["himbara"], "lacking": {}} == shell.json("link", "check", file)
    open_keystore(load_settings())
    code, out, _ = shell.run("link", "check", file)
    assert (1, True) == (code, "himbara: link himbara wants the key zpk-himbara, which the keystore lacks" in out)
    assert ["himbara"] == list(shell.json("link", "check", file, code=1)["lacking"])
    open_keystore(load_settings()).generate(KeyUsage.PIN_ENCRYPTION, "zpk-himbara")
    assert "himbara: ok\n" == shell.text("link", "check", file)
    assert "two links are named himbara" in shell.refused("link", "check", _file(tmp_path, FIRST + FIRST))
    tls = FIRST + '[link.tls]\ncertificate = "none.pem"\nkey = "none.key"\n'
    assert f"link himbara: tls.certificate: {tmp_path}/none.pem: No such file" in shell.refused(
        "link", "check", _file(tmp_path, tls)
    )
    assert "No such file" in shell.refused("link", "check", str(tmp_path / "none.toml"))


def test_list_and_show(shell: Shell, tmp_path: Path) -> None:
    """What a profile says, and what it leaves out; the digest is the one of the audit chain and the status."""
    file = _file(tmp_path, FIRST)
    (row,) = shell.json("link", "list", file)["links"]
    assert ("himbara", "listen", "KKS_HOST:KKS_ISO_PORT+0", "no") == (
        row["name"],
        row["role"],
        row["address"],
        row["tls"],
    )
    assert "himbara" in shell.text("link", "list", file)
    shown = shell.json("link", "show", "himbara", file)
    assert (16, 15.0, "00") == (len(shown["profile"]), shown["answer_timeout_s"], shown["response_codes"]["APPROVED"])
    text = shell.text("link", "show", "himbara", file)
    assert all(word in text for word in ("answer_timeout_s", "CARD_UNKNOWN", "sign_on_required", "yes"))
    assert "there is no link nobody" in shell.refused("link", "show", "nobody", file)
    assert "himbara" in shell.text("link", "list")


def test_new_key(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people offer a link's partner a key, which waits in the queue; what is wrong is one line."""
    words = ("link", "new-key", "himbara", "--as", "siti", "--checker", "budi")
    assert "--mac or --pin" in shell.usage(*words)
    assert "no zone_master_key" in shell.refused(*words, "--pin")
    keys = 'mac = "optional"\nmac_key = "zak"\nzone_master_key = "zmk"\n'
    monkeypatch.setenv("KKS_LINKS_FILE", _file(tmp_path, FIRST.replace('mac = "off"\n', keys)))
    assert "there is no link nobody" in shell.refused("link", "new-key", "nobody", "--mac")
    hsm = open_keystore(load_settings())
    hsm.generate(KeyUsage.KEY_BLOCK_PROTECTION, "zmk")
    hsm.generate(KeyUsage.MAC_RETAIL, "zak")
    assert "two different people" in shell.refused("link", "new-key", "himbara", "--mac", "--as", "siti")
    found = shell.json(*words, "--mac")
    assert ("zak#2", "himbara") == (found["key"], found["link"])
    assert "Key zak#3, check value " in shell.text(*words, "--mac")
    (first, second) = shell.json("outgoing", "list")["messages"]
    assert ("0800", "key zak", f"zak#2, check value {found['kcv']}", "QUEUED") == tuple(
        first[name] for name in ("mti", "subject", "what", "state")
    )
    assert second["what"].startswith("zak#3")


def test_status_of_a_link_that_calls(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its hosts with what it has and shall have, and why one has not; `list` names them too."""
    calls = 'name = "switch"\nrole = "connect"\nhost = "127.0.0.1"\nport = 1\nmore_hosts = ["[::1]:1"]\nconnections = 2'
    file = _file(tmp_path, FIRST + FIRST.replace('name = "himbara"', calls))
    monkeypatch.setenv("KKS_LINKS_FILE", file)
    with in_thread(_serving) as port:
        monkeypatch.setenv("KKS_HTTP_PORT", str(port))
        for _ in range(100):  # it calls while we look
            text = shell.text("link", "status")
            if "switch: 127.0.0.1:1: " in text:
                break
            time.sleep(0.1)
        assert "switch: 127.0.0.1:1 0 of 2 signed on\nswitch: [::1]:1 0 of 2 signed on\n" in text
        assert "switch: 127.0.0.1:1: Connect call failed" in text
    assert "127.0.0.1:1, [::1]:1" == shell.json("link", "list", file)["links"][1]["address"]


@asynccontextmanager
async def _serving() -> AsyncIterator[int]:
    """A service of the environment's bank. Yields its HTTP port."""
    async with open_bank(load_settings()) as bank:
        ensure_test_link(bank)
        await desk.once(bank, Asked("himbara", "0320", "k", b"x"), _not_done)
        async with run_service(bank, jobs=False) as service:
            yield service.http_address[1]


async def _not_done(_tx: Transaction) -> Done:
    return Done("25", "an unknown card")


def test_status(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the running service says; without one, one line."""
    with in_thread(_serving) as port:
        monkeypatch.setenv("KKS_HTTP_PORT", str(port))
        found = shell.json("link", "status")
        for _ in range(100):  # what waits is counted every few seconds
            if found["people"]:
                break
            time.sleep(0.1)
            found = shell.json("link", "status")
        assert ("himbara", "listening") == (found["links"][0]["name"], found["links"][0]["state"])
        assert {"state": "ok", "why": None} == found["links_file"]
        (waits,) = found["people"]
        assert ("himbara", 0, 1, []) == (waits["link"], waits["exceptions"], waits["desk"], found["outgoing"])
        text = shell.text("link", "status")
        assert ("listening" in text, "himbara: for people 0 exceptions, 1 messages" in text) == (True, True)
        assert all(word in text for word in ("listening", "since it started", "expired", "abandoned", "unmatched"))
    assert "no service answers at http://127.0.0.1:" in shell.refused("link", "status")

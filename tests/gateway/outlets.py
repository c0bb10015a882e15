"""Every way by which something leaves the service: HTTP answers, what commands print, files they write, files that lie there."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile

from aiohttp import ClientSession

if TYPE_CHECKING:
    from gateway.app import Service
    from gateway.settings import Settings
    from tests.gateway.cage import Cage

ROOT = Path(__file__).resolve().parents[2]
PATHS = ("/health/live", "/health/ready", "/v1/status", "/metrics", "/v1/no-such-thing?pan=1")
SECRET_FILES = {"master.key", "test-zpk.json", "test-keys.json"}
"""Of a bank's folder, those that hold a secret by design: the master key, and the link's test key for the simulator."""

PRINTED = (
    "settings", "keys list", "keys record", "vault status", "batch show 1", "si result SI-W", "account show {account}",
    "account statement {account}", "card list {account}", "card pins", "day list", "settlement list --open",
    "trace sp2d:{sp2d}", "trace account:{account}", "ledger proof", "audit verify",
)  # fmt: skip
"""Commands that show something, of each group, with numbers that a bank has."""
WRITTEN = (
    "keys record --out {file}.txt", "batch result 1 --out {file}.csv --as maker", "batch result 1 --out {file}.xlsx --as maker",
    "si result SI-X --out {file}.csv --as maker", "settlement report --date {day} --out {file}.csv",
    "settlement positions --open --out {file}.csv", "settlement payables --out {file}.csv", "settlement gl --out {file}.csv",
)  # fmt: skip
"""Commands that write a file. Results of lists and SI hold the NIKs that the ministry sent."""
ALL = PRINTED + WRITTEN
HOLDS_NIKS = ("batch result", "si result")


async def http(service: Service, cage: Cage) -> None:
    """Every route, and what is none: status, headers and body."""
    host, port = service.http_address
    async with ClientSession() as client:
        for path in PATHS:
            async with client.get(f"http://{host}:{port}{path}") as answer:
                cage.seen[f"HTTP {path}"] = f"{answer.status} {dict(answer.headers)} {await answer.text()}"


async def commands(settings: Settings, folder: Path, cage: Cage, **numbers: str) -> None:
    """What `kks` prints and writes, each in a process of its own; three at a time, as starting them is what takes time."""
    given = [(number, words.format(file=folder / f"written-{number}", **numbers)) for number, words in enumerate(ALL)]
    with ThreadPoolExecutor(3) as pool:
        run = [asyncio.wrap_future(pool.submit(_run, settings, words.split())) for _, words in given]
        done = await asyncio.gather(*run)
    refused = {words: shown for words, (code, shown) in zip(ALL, done, strict=True) if code}
    assert {} == refused, refused
    for number, words in enumerate(ALL):
        cage.seen[words] = done[number][1]
        for path in _written(folder, number):
            cage.seen[f"file of {words}"] = readable(path)
        if words.startswith(HOLDS_NIKS):
            cage.may_hold[f"file of {words}"] = ("NIK", "street NIK", "NO_KK")


def _written(folder: Path, number: int) -> list[Path]:
    return list(folder.glob(f"written-{number}.*"))


def _run(settings: Settings, words: list[str]) -> tuple[int, str]:
    """Exit code, and both outputs together."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KKS_")} | {
        "KKS_DATABASE_URL": str(settings.database_url), "KKS_DATA_DIR": str(settings.data_dir), "PYTHONPATH": str(ROOT),
        "KKS_ISO_PORT": "0", "KKS_HTTP_PORT": "0", "KKS_LOG_LEVEL": "debug", "KKS_KEY_BACKEND": settings.key_backend,
        **{f"KKS_KEY_OPTIONS__{name.upper()}": value for name, value in settings.key_options.items()},
    }  # fmt: skip
    child = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-m", "gateway", *words], env=environment, cwd=settings.data_dir, check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return child.returncode, child.stdout.decode("utf-8", errors="replace")


def files(settings: Settings, cage: Cage) -> None:
    """All that lies in the bank's folder but the secrets that are secret by design: keystore, notes, locks."""
    for path in sorted(settings.data_dir.rglob("*")):
        if path.is_file() and path.name not in SECRET_FILES:
            cage.seen[f"file {path.relative_to(settings.data_dir)}"] = readable(path)


def readable(path: Path) -> str:
    """A file as text; of a workbook its sheets, which are packed."""
    if path.suffix == ".xlsx":
        with ZipFile(path) as book:
            return "\n".join(book.read(name).decode("utf-8", errors="replace") for name in book.namelist())
    return path.read_bytes().decode("utf-8", errors="replace")


def told(cage: Cage) -> str:
    """What was looked at and what was found, as one line of JSON."""
    return json.dumps({"seen": {name: len(text) for name, text in cage.seen.items()}, "escaped": cage.escaped()})

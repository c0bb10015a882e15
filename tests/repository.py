"""The files of this repository, for tests that read all of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("gateway", "iso", "keys", "ledger")


def tracked() -> list[Path]:
    """The files of the repository; of the folder, where this is no checkout."""
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607 - git of the path
        names = [name for name in done.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = []
    if not names:
        folders = [path for folder in (*ROOMS, "tests", "docs") for path in (ROOT / folder).rglob("*")]
        found = (path for path in (*ROOT.iterdir(), *folders) if "__pycache__" not in path.parts)
        names = [path.relative_to(ROOT).as_posix() for path in found]
    return sorted(path for name in names if (path := ROOT / name).is_file())

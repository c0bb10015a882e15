"""A process that switched core dumps off: what the kernel says of it, and what is left of it when it crashes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keys import core_dumps
from keys.errors import KeysError

ROOT = Path(__file__).resolve().parents[2]

CRASHING = """
import ctypes, os, resource, sys
from keys import core_dumps
most = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (most, most))
asked = ctypes.CDLL(None).prctl
before = asked(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE
core_dumps.switch_off()
print(before, asked(3, 0, 0, 0, 0), flush=True)
sys.stdin.readline()
os.abort()
"""


def core_limit(process: int) -> list[str]:
    """Soft and hard limit of a process's core file, as /proc/PID/limits has them."""
    lines = Path(f"/proc/{process}/limits").read_text(encoding="ascii").splitlines()
    (line,) = (one for one in lines if one.startswith("Max core file size"))
    return line.split()[4:6]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc and prctl are Linux's")
def test_a_crash_leaves_no_core(tmp_path: Path) -> None:
    """From a process that could be dumped, and had all the room for it, to one that is not, even when it aborts."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", CRASHING],
        env={"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert "1 0" == child.stdout.readline().strip()
        assert ["0", "0"] == core_limit(child.pid)
        child.stdin.write("\n")
        child.stdin.flush()
        _, status = os.waitpid(child.pid, 0)
    assert (signal.SIGABRT, False) == (os.WTERMSIG(status), os.WCOREDUMP(status))
    assert [] == list(tmp_path.iterdir())


def test_a_refusal_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel says no, the process does not go on believing it."""
    limits: list[object] = []
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: limits.append(limit))
    monkeypatch.setattr(sys, "platform", "linux")

    class Refusing:
        """A libc whose prctl fails."""

        def prctl(self, *_: int) -> int:
            """No."""
            return -1

    monkeypatch.setattr("ctypes.CDLL", lambda _: Refusing())
    with pytest.raises(KeysError, match="core dumps"):
        core_dumps.switch_off()
    assert [(resource.RLIMIT_CORE, (0, 0))] == limits
    monkeypatch.setattr(sys, "platform", "another")
    core_dumps.switch_off()

"""A keystore with its master key file, as a bank has them, and processes that rotate its master key."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from keys.envelope import MasterEnvelope
from keys.keystore import Component, Keystore
from keys.keytypes import KeySpec, KeyState, KeyUsage
from keys.master import MasterKey, create_master_key_file, read_master_key_file
from keys.rotation import master_key_of, rotate_master_key
from keys.software import SoftwareHsm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keys.keytypes import KeyInfo
    from keys.sensitive import Material

ROOT = Path(__file__).resolve().parents[2]
KEYS = 5

ROTATOR = """
import pathlib, sys
from keys.rotation import rotate_master_key
keystore, master = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
print("open", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[3])):
    assert int(sys.argv[4]) <= rotate_master_key(keystore, master)
    print("rotated", flush=True)
"""


class Cut(Exception):
    """Stands for a power cut: no code of ours catches it."""


class House:
    """A keystore with its master key file, as a bank has them, and what was in it when it was made."""

    def __init__(self, folder: Path) -> None:
        self.keystore, self.master = folder / "keystore.json", folder / "master.key"
        self.following = folder / "master.key.next"
        create_master_key_file(self.master)
        hsm = SoftwareHsm.create(self.keystore, read_master_key_file(self.master))
        hsm.generate(KeyUsage.MAC_HMAC, "audit")
        hsm.generate(KeyUsage.DATA_SEALING, "seal")
        hsm.generate(KeyUsage.DATA_SEALING, "seal")
        hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, state=KeyState.PRE_ACTIVE), "zpk")
        hsm.set_state(hsm.find("zpk"), KeyState.DESTROYED)
        hsm.generate(KeyUsage.MAC_CMAC, "link")
        hsm.enter_component(KeyUsage.KEY_BLOCK_PROTECTION, part(1), bytes(range(32)))
        self.held = self.load()
        assert KEYS == len(self.held)

    def master_key(self) -> MasterKey:
        """As a process of the bank asks for it."""
        return master_key_of(self.keystore, self.master)

    def store(self, master: MasterKey | None = None) -> Keystore[Material]:
        """The keystore, opened by MASTER or by whichever file opens it."""
        return Keystore.open(self.keystore, lambda head: MasterEnvelope.for_head(master or self.master_key(), head))

    def load(self) -> list[tuple[KeyInfo, Material | None]]:
        """Every key, with its bytes."""
        return self.store().load()

    def opened(self) -> SoftwareHsm:
        """As a service has it open: it asks for the master key whenever it needs it."""
        return SoftwareHsm.open(self.keystore, self.master_key)

    def rotate(self) -> int:
        """Another master key."""
        return rotate_master_key(self.keystore, self.master)

    def assert_nothing_lost(self) -> None:
        """Every key and component is there; what was cut off is finished by whoever opens, or has left nothing."""
        assert self.held == self.load()
        assert [1] == [one.number for one in self.store().components()]
        assert self.master_key() == read_master_key_file(self.master)


def part(number: int) -> Component:
    """One of two components."""
    return Component("zmk", number, 2, f"custodian {number}", date(2026, 10, 5), "")


@contextmanager
def rotators(house: House, count: int, times: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """COUNT processes that begin at once to rotate, each TIMES times. They have ended afterwards."""
    words = [sys.executable, "-c", ROTATOR, str(house.keystore), str(house.master), str(times), str(KEYS)]
    with ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen(  # noqa: S603 - our own interpreter
                    words, env={"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
            for _ in range(count)
        ]
        for child in children:
            assert child.stdout is not None
            assert b"open\n" == child.stdout.readline()
        for child in children:
            assert child.stdin is not None
            child.stdin.write(b"go\n")
            child.stdin.flush()
        yield children


def cut(*_: object) -> None:
    """For what is cut off before it begins."""
    raise Cut

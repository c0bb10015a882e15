"""A keystore with the file that opens it, as a bank has them, and processes that rotate its master key."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from keys.envelope import MasterEnvelope
from keys.keystore import Component, Keystore
from keys.keytypes import KeySpec, KeyState, KeyUsage
from keys.master import (
    MasterKey,
    Passphrase,
    create_master_key_file,
    read_master_key_file,
    read_passphrase_file,
    write_passphrase_file,
)
from keys.master_ceremony import MasterComponent
from keys.rotation import MasterFile, finish_rotation, forget_next, rotate_by_component, rotate_master_key
from keys.software import SoftwareHsm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keys.keytypes import KeyInfo
    from keys.master_ceremony import Entered
    from keys.sensitive import Material

ROOT = Path(__file__).resolve().parents[2]
KEYS = 5
CHEAP_N = 2  # of scrypt, for tests of the steps and not of the derivation

RANDOM, COMPONENTS, PASSPHRASE = "random", "components", "passphrase"
FORMS = (RANDOM, COMPONENTS, PASSPHRASE)
"""What the master key is, and how the next one comes: a random key, a key of two custodians, another passphrase."""

ROTATOR = """
import pathlib, sys
from keys import master
from tests.keys.house import CHEAP_N, KEYS, House
master._SCRYPT_N = CHEAP_N
house = House(pathlib.Path(sys.argv[1]), sys.argv[2])
print("open", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[3])):
    assert KEYS <= house.rotate()
    print("rotated", flush=True)
"""


class Cut(Exception):
    """Stands for a power cut: no code of ours catches it."""


class House:
    """A keystore with the file that opens it, as a bank has them, and what was in it when it was made."""

    def __init__(self, folder: Path, form: str = RANDOM) -> None:
        self.form = form
        self.keystore = folder / "keystore.json"
        spoken = form == PASSPHRASE
        self.master = folder / ("passphrase" if spoken else "master.key")
        self.file = MasterFile(self.master, read_passphrase_file if spoken else read_master_key_file)
        self.following = self.file.following.path
        self.held: list[tuple[KeyInfo, Material | None]] = []

    def furnish(self) -> House:
        """Make all of it."""
        if self.form == PASSPHRASE:
            write_passphrase_file(self.master, new_passphrase())
        else:
            create_master_key_file(self.master)
        hsm = SoftwareHsm.create(self.keystore, self.read())
        hsm.generate(KeyUsage.MAC_HMAC, "audit")
        hsm.generate(KeyUsage.DATA_SEALING, "seal")
        hsm.generate(KeyUsage.DATA_SEALING, "seal")
        hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, state=KeyState.PRE_ACTIVE), "zpk")
        hsm.set_state(hsm.find("zpk"), KeyState.DESTROYED)
        hsm.generate(KeyUsage.MAC_CMAC, "link")
        hsm.enter_component(KeyUsage.KEY_BLOCK_PROTECTION, part(1), bytes(range(32)))
        self.held = self.load()
        assert KEYS == len(self.held)
        return self

    def read(self) -> MasterKey | Passphrase:
        """What stands in the file."""
        return self.file.read(self.master)

    def read_following(self) -> MasterKey | Passphrase:
        """What stands in the next one."""
        return self.file.read(self.following)

    def master_key(self) -> MasterKey | Passphrase:
        """As a process of the bank asks for it."""
        return finish_rotation(self.keystore, self.file)

    def store(self, master: MasterKey | Passphrase | None = None) -> Keystore[Material]:
        """The keystore, opened by MASTER or by whichever file opens it."""
        return Keystore.open(self.keystore, lambda head: MasterEnvelope.for_head(master or self.master_key(), head))

    def load(self) -> list[tuple[KeyInfo, Material | None]]:
        """Every key, with its bytes."""
        return self.store().load()

    def opened(self) -> SoftwareHsm:
        """As a service has it open: it asks for the master key whenever it needs it."""
        return SoftwareHsm.open(self.keystore, self.master_key)

    def rotate(self) -> int:
        """Another master key, each time another. Components that somebody else left are thrown away first."""
        if self.form == RANDOM:
            return rotate_master_key(self.keystore, self.file)
        if self.form == PASSPHRASE:
            return rotate_master_key(self.keystore, self.file, new_passphrase())
        forget_next(self.keystore, self.file)
        for number in (1, 2):
            entered = self.enter(number, os.urandom(32))
        assert entered.keys is not None
        return entered.keys

    def enter(self, number: int, value: bytes) -> Entered:
        """One custodian's component of the next master key."""
        component = MasterComponent(number, 2, f"custodian {number}", value)
        return rotate_by_component(self.keystore, self.file, component)

    def assert_nothing_lost(self) -> None:
        """Every key and component is there; what was cut off is finished by whoever opens, or has left nothing."""
        assert self.held == self.load()
        assert [1] == [one.number for one in self.store().components()]
        assert self.master_key() == self.read()


def new_passphrase() -> Passphrase:
    """A random one."""
    return Passphrase(os.urandom(16).hex())


def part(number: int) -> Component:
    """One of two components."""
    return Component("zmk", number, 2, f"custodian {number}", date(2026, 10, 5), "")


@contextmanager
def rotators(house: House, count: int, times: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """COUNT processes that begin at once to rotate, each TIMES times. They have ended afterwards."""
    words = [sys.executable, "-c", ROTATOR, str(house.keystore.parent), house.form, str(times)]
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

"""What a back end is to the bank: found by its name, set up, its keystore made and opened, its master key changed.

A back end is a module of this room with an object BACKEND in it, and the setting names the module. So a new one is one new file:
nothing else knows which there are. Refuses to know commands. Read next: hsm.py (the commands), software.py and pkcs11.py (the two
there are).
"""

from __future__ import annotations

import importlib
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from keys.errors import KeystoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date
    from pathlib import Path

    from keys.hsm import Hsm
    from keys.master_ceremony import Entered, MasterComponent
    from keys.toolbox import Refusal

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bank's keys are: paths and names, no secret, so that another process can be told.

    OPTIONS are the back end's own, by the names of `Backend.options`.
    """

    keystore: Path
    master_key: Path
    passphrase: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)


class Backend(ABC):
    """One kind of HSM. What it has not it refuses: KeystoreError in one line. `options`: each must be given; what it means."""

    options: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def create(
        self, place: Place, today: Callable[[], date], on_refusal: Callable[[Refusal], None] | None = None
    ) -> Hsm:
        """The HSM over a new, empty keystore. Makes its master key where that is done without people.

        Raises KeystoreError where the keystore is there already, or master key or options are not right.
        """

    @abstractmethod
    def open(self, place: Place, today: Callable[[], date], on_refusal: Callable[[Refusal], None] | None = None) -> Hsm:
        """The HSM over a keystore that is there. TODAY: the date by which keys begin and end; ON_REFUSAL hears of refused uses.

        Raises KeystoreError, or an error of the back end's own kind, where keystore, master key or device are not right.
        """

    def set_up(self, place: Place, officer_pin_file: Path, number: int) -> None:
        """Make master key NUMBER in a device, as its security officer, and what else the device needs."""
        del place, officer_pin_file, number
        raise KeystoreError("this bank's keys are in no device that would have to be set up (KKS_KEY_BACKEND)")

    def enter_master_component(self, place: Place, component: MasterComponent) -> Entered:
        """Keep one custodian's component of the first master key, before there is a keystore; the last one makes it."""
        del place, component
        raise KeystoreError("this back end's master key has no components (KKS_KEY_BACKEND)")

    def enter_next_component(self, place: Place, component: MasterComponent) -> Entered:
        """Keep one custodian's component of the next master key; the last one makes it, and the keystore is sealed under it.

        May be cut off at any point: the last component is entered again, and every key opens at every moment.
        """
        del place, component
        raise KeystoreError("this back end's master key has no components (KKS_KEY_BACKEND)")

    def forget_master_components(self, place: Place) -> int:
        """Throw away what custodians entered, of a first or a next master key. Returns how many components it were."""
        del place
        return 0

    def rotate_master(self, place: Place, number: int | None = None) -> int:
        """Seal the keystore under another master key: a new one, or NUMBER of those in a device. Returns how many keys it has.

        May be cut off at any point, and done again: every key opens at every moment.
        """
        del place, number
        raise KeystoreError("this back end's master key is not changed from here (KKS_KEY_BACKEND)")

    def rotate_passphrase(self, place: Place, passphrase_file: Path) -> int:
        """Seal the keystore under the passphrase of a file (mode 0600), which the bank's own file holds from then on.

        Returns how many keys there are. May be cut off at any point, and done again.
        """
        del place, passphrase_file
        raise KeystoreError("this back end's master key comes of no passphrase (KKS_KEY_BACKEND)")


def find(name: str) -> Backend:
    """The back end NAME: a module of this room. Raises KeystoreError where there is none."""
    known = None
    if _NAME.fullmatch(name):
        try:
            known = getattr(importlib.import_module(f"keys.{name}"), "BACKEND", None)
        except ModuleNotFoundError as error:
            if error.name != f"keys.{name}":  # it is there, and a package it needs is not
                raise KeystoreError(f"key back end {name}: needs the package {error.name}") from None
    if not isinstance(known, Backend):
        raise KeystoreError(f"there is no key back end {name!r}")
    return known


def check_options(name: str, backend: Backend, given: Mapping[str, str]) -> None:
    """Raise KeystoreError unless GIVEN has each option of the back end NAME, and no other."""
    lacking = [f"{option} ({meaning})" for option, meaning in backend.options.items() if not given.get(option)]
    if lacking:
        raise KeystoreError(f"key back end {name}: lacks the options {', '.join(lacking)}")
    unknown = sorted(set(given) - set(backend.options))
    if unknown:
        raise KeystoreError(f"key back end {name}: has no option {', '.join(unknown)}")

"""The transaction counters (ATC) of test cards' chips, kept in a file: a bank takes no counter of a card twice.

A line for each transaction, account number and counter; the highest of an account counts. Lines are only added, so that several
programs may count in one file; whoever opens it when it has grown writes it anew. Knows no card and no key. Read next:
card_reader.py.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from gateway.simulator.errors import WalletError

if TYPE_CHECKING:
    from pathlib import Path

COUNTER_MOST = 65_535
_LINE = re.compile(r"(\d{1,34}) (\d{1,5})")
_LINES_MOST = 50_000
_MODE = 0o600


class ChipCounters:
    """Last counters by account number. PATH: the file, made when it is first written to; without it they are kept in memory."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the file. Raises WalletError where it is none of this kind."""
        self._path = path
        self._last: dict[str, int] = {}
        if path is not None and path.exists():
            self._read(path)

    def last(self, account: str) -> int:
        """The counter of the account's last transaction; 0 where it had none."""
        return self._last.get(account, 0)

    def keep(self, account: str, counter: int) -> None:
        """Write down a counter before it is used. Raises WalletError, also where a chip has counted to its end."""
        if counter > COUNTER_MOST:
            raise WalletError(f"the chip of account {account} has made {COUNTER_MOST} transactions, and makes no more")
        self._last[account] = max(counter, self.last(account))
        if self._path is not None:
            self._write(self._path, f"{account} {counter}\n", os.O_APPEND)

    def _read(self, path: Path) -> None:
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except OSError as error:
            raise WalletError(f"{path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise WalletError(f"{path}: is not text") from None
        for number, line in enumerate(lines, 1):
            found = _LINE.fullmatch(line)
            if found is None:
                raise WalletError(f"{path}: line {number} is not an account number and a counter")
            self._last[found[1]] = max(int(found[2]), self.last(found[1]))
        if len(lines) > _LINES_MOST:
            self._write(path, "".join(f"{account} {last}\n" for account, last in self._last.items()), os.O_TRUNC)

    @staticmethod
    def _write(path: Path, text: str, how: int) -> None:
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | how, _MODE), "w", encoding="ascii") as file:
                file.write(text)
        except OSError as error:
            raise WalletError(f"{path}: {error.strerror}") from None

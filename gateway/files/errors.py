"""The one way a file is refused as a whole. A bad row is not an error: it becomes findings (gateway.rules.findings).

Refuses to know what the rows mean. Read next: gateway.files.table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import Refused

if TYPE_CHECKING:
    from pathlib import Path


class FileRefused(Refused):
    """A file cannot be taken as it is: one line with the path, the line where known, and what is wrong.

    The message never quotes a cell, so it cannot carry an identity or card number.
    """

    def __init__(self, path: Path, what: str, line: int | None = None) -> None:
        where = f"{path}" if line is None else f"{path}: line {line}"
        super().__init__(f"{where}: {what}")
        self.path = path
        self.line = line

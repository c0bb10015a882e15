"""Twin of gateway.files.errors."""

from __future__ import annotations

from pathlib import Path

from gateway import errors
from gateway.files.errors import FileRefused


def test_the_message_names_file_line_and_fault() -> None:
    """One line, and a refusal of the bank as any other."""
    error = FileRefused(Path("a.csv"), "a NUL byte", 7)
    assert isinstance(error, errors.Refused)
    assert str(error) == "a.csv: line 7: a NUL byte"
    assert str(FileRefused(Path("a.csv"), "no such file")) == "a.csv: no such file"

"""Structured logs, one JSON object a line, to standard error. A last guard masks whatever looks like a card or identity number.

Nothing sensitive is given to the log in the first place (iso.describe masks messages); the guard is for what slips through.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

LONG_NUMBER = re.compile(r"(?<![0-9])([0-9]{6})[0-9]{3,}([0-9]{4})(?![0-9])")
LONG_HEX = re.compile(r"(?<![0-9A-Za-z])(?=[0-9A-Fa-f]*[A-Fa-f])[0-9A-Fa-f]{16,}(?![0-9A-Za-z])")
NEVER_LOGGED = frozenset({"pan", "pin", "nik", "no_kk", "key", "track2", "pin_block", "mother_name", "password"})


def configure(level: str) -> None:
    """Set up logging for a process. LEVEL: debug, info, warning or error."""
    number = getattr(logging, level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            mask,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s", force=True)


def mask(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop fields that must never be logged and mask long numbers and hex in the rest."""
    for name, value in list(event.items()):
        if name.lower() in NEVER_LOGGED:
            event[name] = "[not logged]"
        elif isinstance(value, str):
            event[name] = masked_text(value)
        elif isinstance(value, bytes | bytearray | memoryview):
            event[name] = f"[{len(value)} bytes]"
        elif isinstance(value, int) and not isinstance(value, bool):
            event[name] = value if abs(value) < 10**12 else masked_text(str(value))
        elif value is not None and not isinstance(value, bool | float):
            event[name] = masked_text(str(value))
    return event


def masked_text(text: str) -> str:
    """TEXT with every run of 13 or more digits and of 16 or more hex characters masked."""
    return LONG_NUMBER.sub(r"\1***\2", LONG_HEX.sub("[hex]", text))

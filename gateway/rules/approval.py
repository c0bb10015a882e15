"""Maker-checker: whoever prepares a thing that moves money or opens accounts is not the one who approves it.

Held for lists, standing instructions and unblocking; freeze, RPL debit and return run as jobs (docs/domain-rules.md). Pure.
"""

from __future__ import annotations


def same_person(maker: str, checker: str) -> bool:
    """Whether two user names mean one person: case and surrounding spaces do not make another.

    The database holds the same rule. Custodians of keys, who type their names for a printed record, are compared more strictly
    (keys.usages.same_person).

    >>> same_person("siti", " Siti")
    True
    """
    return maker.strip().casefold() == checker.strip().casefold()

"""The record of key ceremonies as a page to print and sign. Refuses to know where its acts come from."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

WIDTH = 96
_NAME = 40  # columns for a name beside its signature; a longer one stands above
_TITLES = {
    "key.begun": "begun",
    "key.done": "done",
    "key.failed": "refused",
    "key.refused": "use refused",
    "key.seen": "has had more changes than the acts tell of",
}
_NOBODYS = ("key.refused", "key.seen")  # told by the HSM, and by whoever opened the bank
_NOTE = (
    "Numbers are those of the audit chain `operations`;",
    "`./kks audit verify` proves that none is changed or missing.",
    "",
)
_LEFT_OUT = {"act", "business_date", "note"}


class Written(Protocol):
    """One act, as gateway.store.ceremonies.Act is."""

    @property
    def seq(self) -> int:
        """Number in the audit chain."""

    @property
    def at(self) -> datetime:
        """When, in UTC."""

    @property
    def actor(self) -> str:
        """Who."""

    @property
    def operation(self) -> str:
        """key.begun, key.done, key.failed, key.refused or key.seen."""

    @property
    def key(self) -> str:
        """Label, or label#version."""

    @property
    def detail(self) -> dict[str, Any]:
        """What else."""


def ceremony_record(acts: Sequence[Written], later: Sequence[Written] = ()) -> str:
    """Every act in order, those that never ended marked, and a line to sign for each person who took part.

    LATER: acts of days after those of the page, which may be the end of one that began in it.
    """
    lines = ["RECORD OF KEY CEREMONIES".center(WIDTH).rstrip(), "=" * WIDTH]
    lines += _NOTE
    never, here = _unended([*acts, *later]), _unended(acts)
    for act in acts:
        if act.operation == "key.begun" and act.seq not in here:
            continue
        what = str(act.detail.get("act", "use"))
        title = _TITLES.get(act.operation, act.operation)
        if act.seq in here:
            title = "BEGUN AND NEVER ENDED" if act.seq in never else "begun; its end is of a later day"
        lines.append(f"{act.seq:>8}  {act.at:%Y-%m-%d %H:%M:%S} UTC  {act.actor}")
        lines += _wrapped(f"{what} {act.key}: {title}")
        told = [
            f"{name} {_said(value)}"
            for name, value in act.detail.items()
            if name not in _LEFT_OUT and value is not None
        ]
        if told:
            lines += _wrapped(", ".join(told))
    if not acts:
        lines.append("Nothing was done with keys in this time.")
    lines += ["", "-" * WIDTH, ""]
    for person in _people(acts):
        lines += [] if len(person) <= _NAME else [person]
        name = person if len(person) <= _NAME else ""
        lines += [f"{name:<{_NAME}}  signature _________________________  date ____________", ""]
    return "\n".join(lines).rstrip()


def _unended(acts: Sequence[Written]) -> set[int]:
    """The numbers of begun acts that no end follows, or that their person began again before: one does one act at a time."""
    open_acts: dict[tuple[str, Any, str], int] = {}
    unended: set[int] = set()
    for act in acts:
        place = (act.actor, act.detail.get("act"), act.key.partition("#")[0])
        if act.operation == "key.begun":
            unended |= {open_acts[place]} if place in open_acts else set()
            open_acts[place] = act.seq
        elif act.operation in ("key.done", "key.failed"):
            open_acts.pop(place, None)
    return unended | set(open_acts.values())


def _people(acts: Sequence[Written]) -> list[str]:
    """Whoever took part: who did an act, and the custodians that an act names."""
    people = {act.actor for act in acts if act.operation not in _NOBODYS}
    for act in acts:
        custodians = act.detail.get("custodians")
        people |= set(custodians.values()) if isinstance(custodians, dict) else set()
    return sorted(people)


def _said(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    return str(value)


def _wrapped(text: str) -> list[str]:
    indent = " " * 10
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)

"""What a partner's profile holds in tables of its own: TLS, what we send, partial approvals, stand-in.

docs/iso8583.md, "Profiles", is the table of these settings. Read next: profile.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gateway.rules.purse import Channel
from gateway.rules.stand_in import StandInPolicy

DataElement = Annotated[
    int, BeforeValidator(lambda value: int(value) if isinstance(value, str) else value), Field(ge=2, le=128)
]

HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]]+)):(\d{1,5})")


class Host(NamedTuple):
    """Where a partner is called."""

    name: str
    port: int

    def __str__(self) -> str:
        """As a profile writes it: an IPv6 address in brackets (RFC 3986, 3.2.2)."""
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


def host_of(written: str) -> Host:
    """A host as a profile writes it: `10.0.0.2:8583`, `switch.example:8583`, `[2001:db8::2]:8583`. Raises ValueError."""
    found = HOST.fullmatch(written)
    if found is None or not 0 < int(found[3]) <= 65_535:  # noqa: PLR2004 - ports of TCP
        raise ValueError(f"more_hosts: a host is written like 10.0.0.2:8583 or [2001:db8::2]:8583, not {written!r}")
    return Host(found[1] or found[2], int(found[3]))


class Tls(BaseModel):
    """TLS 1.2 or newer. `authority`: who must have signed the other side's certificate; with it a listening link asks for one.

    `peer_names`: the names (subject alternative names or common name) that the other side's certificate may have: the
    certificate is bound to the link.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    certificate: Path
    key: Path
    authority: Path | None = None
    peer_names: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_need_an_authority(self) -> Self:
        if self.peer_names and self.authority is None:
            raise ValueError("peer_names: no certificate is asked for without an authority")
        return self


class Outgoing(BaseModel):
    """What we send of our own accord, stored and forwarded: head first, repeated until answered or too old."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    hot_list: bool = False  # 0302 where a card of ours is blocked, lost or stolen, or good again
    hot_list_file: str = Field(default="HOTLIST", pattern=r"^[A-Z0-9 ._-]{1,17}$")  # DE101 of both sides' 0302
    retry_s: float = Field(default=10.0, gt=0, le=3_600)
    expire_s: int = Field(default=259_200, ge=60, le=2_592_000)


class PartialMark(BaseModel):
    """Where a request says that its terminal can do with a part of what it asks for: a tag or a column of a private field.

    It says so where what stands there begins with `value`, as with Visa's field 60.10 and Mastercard's subelement 61 of DE48.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    field: DataElement
    tag: str | None = None
    column: str | None = None
    value: str = Field(default="1", min_length=1, max_length=40)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.tag is None) == (self.column is None):
            raise ValueError("a partial_mark has a tag or a column")
        return self


class StandIn(BaseModel):
    """What is approved while the books are away, at the bank's own risk. Rupiah and seconds. Rules: gateway.rules.stand_in."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    cash: tuple[Channel, ...] = ()
    purchases: bool = False
    most_idr: int = Field(gt=0, le=10_000_000)
    most_card_idr: int = Field(gt=0, le=100_000_000)
    list_age_s: int = Field(default=3_600, ge=60, le=86_400)
    outage_s: int = Field(default=14_400, ge=60, le=172_800)

    @property
    def policy(self) -> StandInPolicy:
        """As the rules take it."""
        return StandInPolicy(
            frozenset(self.cash), self.purchases, self.most_idr, self.most_card_idr, self.list_age_s, self.outage_s
        )

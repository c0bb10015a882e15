"""A partner link as data: dialect, frame, key, amounts, policy and the words for our reasons, checked as a whole."""

from __future__ import annotations

import re
import tomllib
from datetime import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gateway.errors import SettingsError
from gateway.rules.authorise import DeclineReason
from iso.framing import FrameKind, LengthFraming

DEFAULT_FILE = Path(__file__).with_name("links_default.toml")
CLOCK = re.compile(r"\d\d:\d\d")
ADVICE_ACCEPTED = (DeclineReason.ORIGINAL_UNKNOWN, DeclineReason.REVERSAL_AMOUNT, DeclineReason.HOLD_AMOUNT)


class Link(BaseModel):
    """One partner link."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^[a-z0-9-]{1,20}$")
    acquirer: str = Field(pattern=r"^\d{1,11}$")
    dialect: Literal["himbara"]
    frame: FrameKind
    largest_frame: int = Field(ge=64, le=9999)
    amount_exponent: Literal[0, 2]
    pin_key: str
    mac: Literal["off"]
    sign_on_required: bool
    expiring_in_48: bool = False  # tell in DE48 what unused aid the family loses next, and when
    cut_over: time | None = None  # Jakarta's wall clock: from then on it is the partner's next day; None: midnight
    response_codes: dict[DeclineReason, str]

    @field_validator("response_codes")
    @classmethod
    def _complete(cls, codes: dict[DeclineReason, str]) -> dict[DeclineReason, str]:
        missing = [reason.value for reason in DeclineReason if reason not in codes]
        if missing:
            raise ValueError(f"no response code for {', '.join(missing)}")
        wrong = [code for code in codes.values() if len(code) != 2 or not code.isalnum()]  # noqa: PLR2004 - DE39 is an 2
        if wrong:
            raise ValueError(f"a response code has two letters or digits, not {wrong[0]!r}")
        return codes

    @field_validator("cut_over", mode="before")
    @classmethod
    def _wall_clock(cls, value: object) -> object:
        if value is None or isinstance(value, time) or (isinstance(value, str) and CLOCK.fullmatch(value)):
            return value
        raise ValueError('a cut-over is a time of Jakarta\'s wall clock like "23:00"')

    @field_validator("cut_over")
    @classmethod
    def _whole_minutes(cls, value: time | None) -> time | None:
        if value is not None and (value.second or value.microsecond):
            raise ValueError(f"a cut-over is a whole minute, not {value}")
        return value

    @property
    def framing(self) -> LengthFraming:
        """How messages are cut out of the stream."""
        return LengthFraming(self.frame, max_length=self.largest_frame)

    @property
    def advice_codes(self) -> dict[DeclineReason, str]:
        """What an advice (0420, 0421) is told: it is always accepted; what could not be done is kept for people."""
        return self.response_codes | dict.fromkeys(ADVICE_ACCEPTED, self.response_codes[DeclineReason.APPROVED])


class _LinksFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    link: tuple[Link, ...] = Field(min_length=1, max_length=1)


def read_links(path: Path | None) -> Link:
    """The partner link of a file (default: the shipped one). Raises SettingsError naming the file, the place and the fault."""
    source = path or DEFAULT_FILE
    try:
        return _LinksFile.model_validate(tomllib.loads(source.read_text(encoding="utf-8"))).link[0]
    except OSError as error:
        raise SettingsError(f"setting KKS_LINKS_FILE: {source}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"setting KKS_LINKS_FILE: {source}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"setting KKS_LINKS_FILE: {source}: {place}: {first['msg']}") from None

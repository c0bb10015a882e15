"""The file of partner links, read as a whole: every profile right and none in another's way, or nothing is taken.

Refuses to know what a setting means (profile.py) and when to read again (links.py).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.errors import SettingsError
from gateway.terminals.profile import Link

DEFAULT_FILE = Path(__file__).with_name("links_default.toml")


class Links(BaseModel):
    """Every link of a bank, in the order of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    link: tuple[Link, ...] = Field(min_length=1, max_length=100)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        names = [link.name for link in self.link]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two links are named {twice}")
        ports: dict[tuple[str, int], str] = {}
        for link in self.link:
            if link.role == "listen" and link.port != 0:
                place = link.host or "", -link.port_offset if link.port is None else link.port
                if place in ports:
                    raise ValueError(f"links {ports[place]} and {link.name} listen on one port")
                ports[place] = link.name
        return self

    @property
    def first(self) -> Link:
        """The link that stands first: terminals of the demo and the simulator use it."""
        return self.link[0]

    def named(self, name: str) -> Link | None:
        """The link of that name."""
        return next((link for link in self.link if link.name == name), None)


def read_links(path: Path | None) -> Links:
    """The partner links of a file (default: the shipped one). Raises SettingsError naming the file, the place and the fault."""
    source = path or DEFAULT_FILE
    try:
        return Links.model_validate(tomllib.loads(source.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"setting KKS_LINKS_FILE: {source}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"setting KKS_LINKS_FILE: {source}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "link"
        raise SettingsError(f"setting KKS_LINKS_FILE: {source}: {place}: {first['msg']}") from None

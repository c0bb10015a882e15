"""The file of partner links, read as a whole: every profile right and none in another's way, or nothing is taken.

Refuses to know what a setting means (profile.py) and when to read again (links.py).
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.errors import SettingsError
from gateway.terminals.profile import Link
from iso.dialect import DIALECTS, derive
from iso.errors import DialectError

if TYPE_CHECKING:
    from iso.dialect import Dialect

NAME = re.compile(r"[a-z0-9-]{1,40}")
DEFAULT_FILE = Path(__file__).with_name("links_default.toml")


class Links(BaseModel):
    """Every link of a bank, in the order of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    dialect: tuple[dict[str, Any], ...] = ()
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

    @model_validator(mode="after")
    def _no_key_of_another(self) -> Self:
        """A link whose partner changes its keys shares none of them: it would change the other partner's too."""
        for link in self.link:
            for other in self.link:
                shared = {link.pin_key, link.mac_key} & {other.pin_key, other.mac_key} - {None}
                if link is not other and link.zone_master_key is not None and shared:
                    key = ", ".join(str(one) for one in shared)
                    raise ValueError(
                        f"link {link.name} changes its keys over the line and shares {key} with {other.name}"
                    )
        return self

    @property
    def first(self) -> Link:
        """The link that stands first: terminals of the demo and the simulator use it."""
        return self.link[0]

    def named(self, name: str) -> Link | None:
        """The link of that name."""
        return next((link for link in self.link if link.name == name), None)


def read_links(path: Path | None) -> Links:
    """The partner links of a file (default: the shipped one). Raises SettingsError naming the file, the place and the fault.

    `[[dialect]]` tables derive a bank's own dialects; `[response_codes]` holds what every link is told that says nothing else.
    """
    source = path or DEFAULT_FILE
    try:
        found = tomllib.loads(source.read_text(encoding="utf-8"))
        known = _dialects(found)
        _share_codes(found)
        _put_beside(found, source.parent)
        return Links.model_validate(found, context=known)
    except OSError as error:
        raise SettingsError(f"setting KKS_LINKS_FILE: {source}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, DialectError) as error:
        raise SettingsError(f"setting KKS_LINKS_FILE: {source}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "link"
        raise SettingsError(f"setting KKS_LINKS_FILE: {source}: {place}: {first['msg']}") from None


def _dialects(found: dict[str, Any]) -> dict[str, Dialect]:
    """Every dialect a link of the file may name: the shipped ones, and those it derives. Raises DialectError."""
    known = dict(DIALECTS)
    tables = found.get("dialect", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise DialectError("dialect: must be [[dialect]] tables")
    for table in tables:
        name, base = table.get("name"), table.get("base")
        if not isinstance(name, str) or NAME.fullmatch(name) is None:
            raise DialectError(f"dialect: a name has 1 to 40 small letters, digits and hyphens, not {name!r}")
        if name in known:
            raise DialectError(f"dialect {name}: there is one of that name already")
        if not isinstance(base, str) or base not in known:
            raise DialectError(f"dialect {name}: base: there is no dialect {base!r} before it")
        known[name] = derive(
            known[base], name, {key: value for key, value in table.items() if key not in ("name", "base")}
        )
    return known


def _tables(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The tables of links, as far as they are tables."""
    links = found.get("link")
    return [link for link in links if isinstance(link, dict)] if isinstance(links, list) else []


def _share_codes(found: dict[str, Any]) -> None:
    """Put the response codes of all links into each, where the link does not say its own."""
    shared = found.pop("response_codes", {})
    for link in _tables(found):
        own = link.get("response_codes", {})
        if isinstance(shared, dict) and isinstance(own, dict):
            link["response_codes"] = shared | own


def _put_beside(found: dict[str, Any], folder: Path) -> None:
    """Files of TLS that are named without a folder of their own lie beside the file of links."""
    for link in _tables(found):
        tls = link.get("tls")
        for name in ("certificate", "key", "authority"):
            if isinstance(tls, dict) and isinstance(path := tls.get(name), str):
                tls[name] = str(folder / path)

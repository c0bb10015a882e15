"""TLS of a link: contexts from its profile, and whether the other side's certificate is one that belongs to the link.

TLS 1.2 or newer. A listening link with an authority asks for a client certificate; a calling one always looks at the server's,
and without an authority of its own trusts those of the system. Refuses to know sockets (listener.py, connector.py).
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.terminals.profile import Link
    from gateway.terminals.profile_tables import Tls


def context_of(link: Link) -> ssl.SSLContext | None:
    """What the link's connections are wrapped in; None: plain TCP. Raises SettingsError naming link, file and fault."""
    tls = link.tls
    if tls is None:
        return None
    for name, path in (("certificate", tls.certificate), ("key", tls.key), ("authority", tls.authority)):
        if path is not None:
            _readable(link, name, path)
    context = _listening(tls) if link.role == "listen" else _calling(tls)
    context.minimum_version = ssl.TLSVersion.TLSv1_2

    def no_passphrase() -> str:
        raise SettingsError(
            f"link {link.name}: tls.key: {tls.key}: is enciphered, and nobody is there to type its passphrase"
        )

    try:
        context.load_cert_chain(tls.certificate, tls.key, password=no_passphrase)
    except ssl.SSLError as error:
        raise SettingsError(f"link {link.name}: tls: {tls.certificate} with {tls.key}: {_why(error)}") from None
    try:
        if tls.authority is not None:
            context.load_verify_locations(tls.authority)
    except ssl.SSLError as error:
        raise SettingsError(f"link {link.name}: tls.authority: {tls.authority}: {_why(error)}") from None
    return context


def is_named(certificate: Mapping[str, Any] | None, names: tuple[str, ...]) -> bool:
    """Whether a certificate, as ssl tells it, has one of these names: alternative names (RFC 5280, 4.2.1.6) or common name."""
    if certificate is None:
        return False
    found = {value for _, value in certificate.get("subjectAltName", ())}
    found |= {value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"}
    return bool(found & set(names))


def _listening(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if tls.authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _calling(tls: Tls) -> ssl.SSLContext:
    """The server's certificate must have one of peer_names where there are some, else the name of the host that is called."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = not tls.peer_names
    if tls.authority is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def _readable(link: Link, name: str, path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise SettingsError(f"link {link.name}: tls.{name}: {path}: {error.strerror}") from None


def why(error: OSError) -> str:
    """Why a handshake failed, in one line."""
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return (reason or str(error) or "the connection was closed").replace("_", " ").lower()


def _why(error: ssl.SSLError) -> str:
    return (error.reason or "is no PEM file of that kind").replace("_", " ").lower()

"""The security requirements of what is built (23): no secret stands in the repository. What is read is never imported.

Settings and their files are tried in tests/gateway/test_requirements_channels.py; 26 in test_threat_model.py. Read next:
docs/threat-model.md.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from keys import luhn
from tests.repository import ROOMS, ROOT, tracked

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN_NAME = "tests/test_requirements.py"

SECRETS = {
    "private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}"),
    "private key in DER": re.compile(r"MII(?:E[uvw]|CXA|CXQ|JK|Jd|Ev)[A-Za-z0-9+/]{60}"),
    "cloud key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{35}\b"),
    "token": re.compile(r"\bgh[pousr]_[0-9A-Za-z]{30,}|\bxox[abprs]-[0-9A-Za-z-]{10,}|\bglpat-[0-9A-Za-z_-]{20}"),
    "JSON web token": re.compile(r"\beyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}\."),
    "password in an address": re.compile(r"\b[a-z][a-z0-9+]+://[^\s:/@'\"{}]+:[^\s@'\"{}<>]+@"),
}
PLACEHOLDERS = re.compile(r"://(?:user|kks|siti|u):(?:password|secret|pass|p|[a-z]+)@|://[^@]*:\*+@")
"""Addresses that show how one is written; tests of hiding them have some too."""
FILES = re.compile(
    r"(?:^|/)(?:\.env.*|id_[a-z0-9]+|.*\.(?:pem|key|p12|pfx|jks|der|crt|kdbx|pgpass)|keystore.*\.json|master\.key.*"
    r"|wallet\.json|test-zpk\.json|test-keys\.json|.*\.(?:dump|sqlite|db|bak))$"
)
NAMED = re.compile(r"(?:^|_)(?:password|passphrase|secret|zpk|zmk|pvk|master_key|api_key|token)(?:$|_)", re.IGNORECASE)
NO_SECRET = ("_label", "_file", "_path", "_option")
SHORT = 7
HEX = re.compile(r"[0-9A-Fa-f]{32,}")
PUBLISHED = {
    "keys/selftest.py",  # vectors of standards, which each start computes
    "keys/token_workshop.py",  # the same, for a token
    "keys/dukpt_tdes.py",  # the mask of X9.24
    "gateway/measure/keys.py",  # chip data of a published vector
}
"""Modules with literals as long as a key, and what they are."""
CARDS = re.compile(r"(?<![0-9A-Za-z.])(?:4[0-9]{15}|5[1-5][0-9]{14}|6[0-9]{15}|3[47][0-9]{13})(?![0-9A-Za-z])")
TEST_BINS = ("601301", "411111", "400111", "400123", "401234", "432198", "554433")
"""The project's own test BIN, and those of manuals and standards."""
VECTORS = "tests/keys/vectors.json"
"""Published vectors, with their cards."""


def secrets_in(text: str) -> list[str]:
    """What in a text looks like a secret: its kind."""
    return [
        kind
        for kind, pattern in SECRETS.items()
        for found in pattern.finditer(text)
        if kind != "password in an address" or not PLACEHOLDERS.search(found[0])
    ]


def literals(tree: ast.Module) -> Iterator[str]:
    """The text and bytes in a module that are no docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    said = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(node, documented)
        for statement in node.body
        if isinstance(statement, ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in said:
            if isinstance(node.value, str):
                yield node.value
            elif isinstance(node.value, bytes):
                yield node.value.decode("latin-1")


def named_secrets(tree: ast.Module) -> list[str]:
    """Names of the code that are given a literal of eight characters or more, and sound like a secret."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            value = node.value.value
            names = [one.id if isinstance(one, ast.Name) else getattr(one, "attr", "") for one in targets]
            if isinstance(value, str | bytes) and len(value) > SHORT:
                found += [name for name in names if NAMED.search(name) and not name.lower().endswith(NO_SECRET)]
    return found


def test_requirement_23_no_secret_is_in_the_repository() -> None:
    """No private key, token, password or key file in any file that is tracked; none is even called like one."""
    files = tracked()
    names = [path.relative_to(ROOT).as_posix() for path in files]
    assert len(names) > 500
    assert [] == [name for name in names if FILES.search(name)]
    found = {
        name: kinds
        for name, path in zip(names, files, strict=True)
        if name != OWN_NAME and (kinds := secrets_in(path.read_text(encoding="utf-8", errors="replace")))
    }
    assert {} == found


def test_requirement_23_no_key_is_in_the_code() -> None:
    """In the rooms of the bank no literal is as long as a key, but published ones; and nothing called a secret has a value."""
    with_hex, named = set(), {}
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        if name.split("/")[0] not in ROOMS or path.suffix != ".py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(HEX.fullmatch(one) for one in literals(tree)):
            with_hex.add(name)
        if secrets := named_secrets(tree):
            named[name] = secrets
    assert set() == with_hex - PUBLISHED
    assert {} == named


def test_requirement_23_no_card_but_test_cards() -> None:
    """A number with a right check digit that a scheme could have issued is of the test BIN, or of a published vector."""
    found, published = {}, set(CARDS.findall((ROOT / VECTORS).read_text(encoding="utf-8")))
    for path in tracked():
        text = path.read_text(encoding="utf-8", errors="replace")
        numbers = {one for one in CARDS.findall(text) if luhn.is_valid(one)}
        cards = {one for one in numbers - published if not one.startswith(TEST_BINS)}
        if cards:
            found[path.relative_to(ROOT).as_posix()] = sorted(cards)
    assert {} == found


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("private key", "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA" * 4),
        ("private key in DER", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" + "x" * 60),
        ("cloud key", "AKIA" + "IOSFODNN7EXAMPLE"),
        ("token", "ghp_" + "a1B2" * 9),
        ("JSON web token", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0."),
        ("password in an address", "postgresql://bank:Xk29fj@db.example/kks"),
    ],
)
def test_requirement_23_the_scan_finds_a_secret(kind: str, text: str) -> None:
    """Each kind, where there is one; and it passes over what only shows how an address is written."""
    assert [kind] == secrets_in(f"x = '{text}'")
    assert [] == secrets_in("postgresql://user:password@host/name")
    code = ast.parse(f"ZPK_KEY = '{'0123456789abcdef' * 2}'\nname = 'a'")
    assert ["ZPK_KEY"] == named_secrets(code)
    assert [True, False] == [bool(HEX.fullmatch(one)) for one in literals(code)]
    assert ["var/keys/master.key", ".env"] == [
        one for one in ("var/keys/master.key", ".env", "keys/master.py") if FILES.search(one)
    ]

"""What the tests of this folder share: published vectors, an HSM in memory, and strategies for cards and PINs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from keys import luhn
from keys.hsm import Hsm
from keys.keytypes import KeyMode, KeyUsage
from keys.sensitive import Pan
from keys.software import SoftwareHsm

if TYPE_CHECKING:
    from keys.errors import KeysError

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors.json").read_text("ascii"))

PAN = Pan("6013010000000019")
OTHER_PAN = Pan("6013010000000027")
SECOND_KEY = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
"""The double length key of many published vectors."""

pins = st.text("0123456789", min_size=4, max_size=12)
six_digits = st.text("0123456789", min_size=6, max_size=6)
pans = st.text("0123456789", min_size=12, max_size=18).map(lambda body: Pan(body + luhn.check_digit(body)))


def vectors(prefix: str) -> list[dict[str, Any]]:
    """The vectors whose names start so. Never none."""
    found = [vector for vector in VECTORS if vector["name"].startswith(prefix)]
    assert found, prefix
    return found


def components(key: bytes) -> list[bytes]:
    """Two components that form KEY."""
    mask = bytes(range(17, 17 + len(key)))
    return [mask, bytes(one ^ other for one, other in zip(mask, key, strict=True))]


def bank_hsm() -> Hsm:
    """An HSM with one key of each usage: zpk (both ways), zpk.bank (deciphers only), pvk, seal, index, retail, cmac, hmac."""
    hsm = SoftwareHsm.in_memory()
    hsm.generate(KeyUsage.PIN_ENCRYPTION, "zpk", mode=KeyMode.BOTH)
    hsm.generate(KeyUsage.PIN_ENCRYPTION, "zpk.bank")
    hsm.generate(KeyUsage.PIN_VERIFICATION_IBM, "pvk")
    hsm.generate(KeyUsage.DATA_SEALING, "seal")
    hsm.generate(KeyUsage.BLIND_INDEX, "index")
    hsm.generate(KeyUsage.MAC_RETAIL, "retail")
    hsm.generate(KeyUsage.MAC_CMAC, "cmac")
    hsm.generate(KeyUsage.MAC_HMAC, "hmac")
    return hsm


def one_line(error: KeysError) -> bool:
    """Whether the error reads as one clear line."""
    return bool(str(error)) and "\n" not in str(error)

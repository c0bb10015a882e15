"""What the tests of this folder share: published vectors, a key of each usage, an HSM, strategies for cards and PINs."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from keys import luhn, rsa_keys, usages
from keys.keytypes import Algorithm, Exportability, KeyAttributes, KeyInfo, KeyMode, KeySpec, KeyState, KeyUsage
from keys.sensitive import Material, Pan
from keys.software import SoftwareHsm

if TYPE_CHECKING:
    from keys.errors import KeysError
    from keys.hsm import Hsm

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors.json").read_text("ascii"))

PAN = Pan("6013010000000019")
OTHER_PAN = Pan("6013010000000027")
SECOND_KEY = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
"""The double length key of many published vectors."""
DEVICES = {Algorithm.TDES: "FFFF9876543210E00000", Algorithm.AES: "1234567890123456"}
"""The terminals of DUKPT, as keytypes.KeyAttributes names them."""
TODAY = date(2026, 10, 5)

pins = st.text("0123456789", min_size=4, max_size=12)
six_digits = st.text("0123456789", min_size=6, max_size=6)
any_pans = st.text("0123456789", min_size=7, max_size=18).map(lambda body: Pan(body + luhn.check_digit(body)))
"""Of every length that ISO/IEC 7812-1 has: 8 to 19 digits."""
pans = st.text("0123456789", min_size=12, max_size=18).map(lambda body: Pan(body + luhn.check_digit(body)))
"""Of 13 digits and more, as cards have them."""


def vectors(prefix: str) -> list[dict[str, Any]]:
    """The vectors whose names start so. Never none."""
    found = [vector for vector in VECTORS if vector["name"].startswith(prefix)]
    assert found, prefix
    return found


def components(key: bytes) -> list[bytes]:
    """Two components that form KEY."""
    mask = bytes(range(17, 17 + len(key)))
    return [mask, bytes(one ^ other for one, other in zip(mask, key, strict=True))]


@functools.cache
def rsa_private() -> bytes:
    """An RSA key of 2048 bits, the same for a whole run: PKCS #8 in DER."""
    return rsa_keys.make(2048)


def key_of(
    usage: KeyUsage, algorithm: Algorithm | None = None, *, mode: KeyMode | None = None, length: int | None = None
) -> tuple[KeyInfo, Material]:
    """A fit key with its header, always the same bytes: of the usage's first algorithm and mode, and as long as a random one."""
    rule = usages.USAGES[usage]
    algorithm, mode = algorithm or next(iter(rule.algorithms)), mode or rule.modes[0]
    if algorithm is Algorithm.RSA:
        der = rsa_private()
        material = Material(der if mode is KeyMode.SIGN else rsa_keys.public_of(der))
    else:
        material = Material(bytes(range(1, 1 + (length or rule.algorithms[algorithm].made))))
    info = KeyInfo(
        label="a.key",
        usage=usage,
        algorithm=algorithm,
        mode=mode,
        exportability=Exportability.NOT_EXPORTABLE,
        state=KeyState.ACTIVE,
        version=1,
        created=TODAY,
        active_from=None,
        active_to=None,
        bits=usages.bits_of(algorithm, material),
        kcv=usages.check_value(algorithm, material),
        attributes=attributes_of(usage, algorithm),
    )
    return info, material


def attributes_of(usage: KeyUsage, algorithm: Algorithm | None = None) -> KeyAttributes:
    """The usage's attributes; of an initial DUKPT key the terminal that the tests' KSN are of."""
    rule = usages.USAGES[usage]
    if usage is not KeyUsage.INITIAL_DUKPT:
        return rule.attributes
    return KeyAttributes(device=DEVICES[algorithm or next(iter(rule.algorithms))])


def keys_of_all_usages() -> list[tuple[KeyInfo, Material]]:
    """One fit key of each usage and each of its algorithms, labelled by their codes."""
    return [
        (replace(info, label=f"{usage}.{algorithm}"), material)
        for usage, rule in usages.USAGES.items()
        for algorithm in rule.algorithms
        for info, material in [key_of(usage, algorithm)]
    ]


def bank_hsm() -> Hsm:
    """An HSM with keys of a bank: zpk (both ways), zpk.bank (deciphers only), pvk, seal, index, retail, cmac, hmac."""
    hsm = SoftwareHsm.in_memory()
    hsm.generate(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH), "zpk")
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

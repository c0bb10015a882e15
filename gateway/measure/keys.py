"""`kks bench keys`: PIN verification, TR-31 unwrap and ARQC verification, ours beside psec and pyemv, in one run.

Ours is the facade's own call, with its permission check; of key blocks it is the opener that the facade keeps for a KBPK, whose
keys are derived once. Beside it stand an opener made anew for each block, which derives them each time as psec does, and the
facade's whole import, which checks and keeps the key besides. Each is timed in short slices of processor time, in turns, so that
a busy machine slows both; inputs differ from call to call, so that nobody answers from memory. psec and pyemv are what the tests
compare with, not part of what a bank installs: without them this refuses.
"""

from __future__ import annotations

import secrets
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.errors import Refused
from keys import tr31
from keys.emv_profile import profiles
from keys.hsm import PinToVerify
from keys.keytypes import KeyMode, KeySpec, KeyUsage
from keys.sensitive import Pan, Pin
from keys.software import SoftwareHsm
from keys.tr31_header import Header

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from keys.keytypes import KeyHandle

SHAPES = 64  # different inputs
SLICE = 256  # calls between two looks at the clock
MASK = bytes(range(1, 33))
TAGS = {
    "9F02": "000005000000", "9F03": "000000000000", "9F1A": "0360", "95": "0000000000", "5F2A": "0360", "9A": "261007",
    "9C": "01", "9F37": "889A0812", "82": "5400", "9F10": "0101A000800000EDB26B8D0000000000000000000000000000000000",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class KeyFigures:
    """What was measured; the keys of `--json`. Ratios: our rate / theirs. Rates are calls a second of processor time."""

    pin_verify_ratio: float
    tr31_unwrap_ratio: float
    arqc_ratio: float
    pin_verifications_per_s: float
    psec_pin_verifications_per_s: float
    grouped_pin_verifications_per_s: float
    tr31_unwraps_per_s: float
    tr31_fresh_unwraps_per_s: float
    tr31_fresh_unwrap_ratio: float
    tr31_imports_per_s: float
    tr31_import_ratio: float
    psec_tr31_unwraps_per_s: float
    arqcs_per_s: float
    pyemv_arqcs_per_s: float
    seconds: float


async def measure(seconds: float) -> KeyFigures:
    """Time each pair for SECONDS. Raises Refused where psec or pyemv are not installed."""
    try:
        import psec  # noqa: PLC0415 - a yardstick, not a dependency
        import pyemv  # noqa: PLC0415 - the same
    except ImportError as error:
        raise Refused(f"bench keys: {error.name} is not installed: it is a development package") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # psec's keys of 16 bytes; a warning would cost it time
        ours_pin, theirs_pin, grouped = _pin_calls(psec)
        pin, psec_pin, group = _rates(seconds, (ours_pin, theirs_pin, grouped))
        unwrap, psec_unwrap, fresh, imported = _rates(seconds, _unwrap_calls(psec))
        arqc, pyemv_arqc = _rates(seconds, _arqc_calls(pyemv))
    return KeyFigures(
        pin_verify_ratio=round(pin / psec_pin, 2),
        tr31_unwrap_ratio=round(unwrap / psec_unwrap, 2),
        arqc_ratio=round(arqc / pyemv_arqc, 2),
        pin_verifications_per_s=round(pin),
        psec_pin_verifications_per_s=round(psec_pin),
        grouped_pin_verifications_per_s=round(group * SHAPES),
        tr31_unwraps_per_s=round(unwrap),
        tr31_fresh_unwraps_per_s=round(fresh),
        tr31_fresh_unwrap_ratio=round(fresh / psec_unwrap, 2),
        tr31_imports_per_s=round(imported),
        tr31_import_ratio=round(imported / psec_unwrap, 2),
        psec_tr31_unwraps_per_s=round(psec_unwrap),
        arqcs_per_s=round(arqc),
        pyemv_arqcs_per_s=round(pyemv_arqc),
        seconds=seconds,
    )


def _pin_calls(psec: Any) -> Sequence[Callable[[int], object]]:  # noqa: ANN401 - a package without types
    """Format 0 under triple DES and IBM 3624 with check length 6: ours alone, psec's, and ours in a group of SHAPES."""
    hsm = SoftwareHsm.in_memory()
    zpk_bytes, pvk_bytes = secrets.token_bytes(16), secrets.token_bytes(16)
    zpk = hsm.form(KeySpec(KeyUsage.PIN_ENCRYPTION, mode=KeyMode.BOTH), "zpk", _components(zpk_bytes))
    pvk = hsm.form(KeyUsage.PIN_VERIFICATION_IBM, "pvk", _components(pvk_bytes))
    asked = []
    for _ in range(SHAPES):
        pan = Pan("601301" + "".join(str(secrets.randbelow(10)) for _ in range(10)))
        block = hsm.encipher_pin(Pin("".join(str(secrets.randbelow(10)) for _ in range(6))), zpk, pan)
        asked.append(PinToVerify(block, zpk, pan, "000000"))
    answers = [_psec_offset(psec, zpk_bytes, pvk_bytes, one.block, one.pan.reveal()) for one in asked]
    asked = [one._replace(reference=offset) for one, offset in zip(asked, answers, strict=True)]
    pans = [one.pan.reveal() for one in asked]

    def theirs(at: int) -> bool:
        return _psec_offset(psec, zpk_bytes, pvk_bytes, asked[at].block, pans[at]) == asked[at].reference

    if not all(hsm.verify_pins(asked, pvk)) or hsm.verify_pin(asked[0]._replace(reference=asked[1].reference), pvk):
        raise Refused("bench keys: psec and we do not agree on which PIN is right: nothing to compare")
    return lambda at: hsm.verify_pin(asked[at], pvk), theirs, lambda _: hsm.verify_pins(asked, pvk)


def _psec_offset(psec: Any, zpk: bytes, pvk: bytes, block: bytes, pan: str) -> str:  # noqa: ANN401 - the same
    """The offset of the PIN in a block: with our validation data, 0000 and twelve digits of the PAN."""
    pin = psec.pinblock.decode_pinblock_iso_0(psec.des.decrypt_tdes_ecb(zpk, block), pan)
    return str(psec.pin.generate_ibm3624_offset(pvk, "0123456789012345", pin, "0000" + pan[-13:-1], 0, 16, "0"))


def _unwrap_calls(psec: Any) -> Sequence[Callable[[int], object]]:  # noqa: ANN401 - the same
    """Key blocks of version D with a triple DES key, under an AES-256 KBPK that stays.

    The opener kept for it, psec, an opener made for each block, and the facade's import, into an HSM emptied after SHAPES.
    """
    kbpk = secrets.token_bytes(32)
    opener = tr31.Opener(kbpk)
    header = Header("D", "P0", "T", "B", "00", "E")
    blocks = [tr31.wrap(kbpk, header, secrets.token_bytes(16)) for _ in range(SHAPES)]
    if any(opener.unwrap(block)[1] != psec.tr31.unwrap(kbpk, block)[1] for block in blocks):
        raise Refused("bench keys: psec and we do not unwrap the same key: nothing to compare")
    hsms: list[tuple[SoftwareHsm, KeyHandle]] = []

    def take_in(at: int) -> KeyHandle:
        if at == 0:
            hsm = SoftwareHsm.in_memory()
            hsms[:] = [(hsm, hsm.form(KeyUsage.KEY_BLOCK_PROTECTION, "kbpk", _components(kbpk)))]
        hsm, protection = hsms[0]
        return hsm.import_block(f"key.{at}", blocks[at], protection)

    return (
        lambda at: opener.unwrap(blocks[at]),
        lambda at: psec.tr31.unwrap(kbpk, blocks[at]),
        lambda at: tr31.Opener(kbpk).unwrap(blocks[at]),
        take_in,
    )


def _arqc_calls(pyemv: Any) -> Sequence[Callable[[int], object]]:  # noqa: ANN401 - the same
    """ARQC verification with ARPC method 1, profile nsiccs, a new card and counter each time."""
    hsm, key, profile = SoftwareHsm.in_memory(), secrets.token_bytes(16), profiles()["nsiccs"]
    imk = hsm.form(KeyUsage.ISSUER_CRYPTOGRAM, "imk", _components(key))
    asked = []
    for at in range(SHAPES):
        pan = "601301" + "".join(str(secrets.randbelow(10)) for _ in range(10))
        tags = {tag: bytes.fromhex(value) for tag, value in TAGS.items()} | {"9F36": (at + 1).to_bytes(2)}
        tags["9F26"] = _pyemv_arqc(pyemv, key, pan, tags)[0]
        asked.append((Pan(pan), pan, tags))

    def ours(at: int) -> object:
        pan, _, tags = asked[at]
        return hsm.verify_cryptogram(profile, imk, pan, "00", tags, b"00")

    def theirs(at: int) -> object:
        _, pan, tags = asked[at]
        arqc, session = _pyemv_arqc(pyemv, key, pan, tags)
        return arqc == tags["9F26"], pyemv.ac.generate_arpc_1(session, arqc, b"00")

    if any(tuple(ours(at)) != theirs(at) for at in range(SHAPES)):  # type: ignore[arg-type]
        raise Refused("bench keys: pyemv and we do not make the same cryptograms: nothing to compare")
    return ours, theirs


def _pyemv_arqc(pyemv: Any, key: bytes, pan: str, tags: dict[str, bytes]) -> tuple[bytes, bytes]:  # noqa: ANN401 - the same
    """The cryptogram and its session key."""
    master = pyemv.kd.derive_icc_mk_a(key, pan, "00")
    session = pyemv.kd.derive_common_sk(master, tags["9F36"] + bytes(6))
    order = ("9F02", "9F03", "9F1A", "95", "5F2A", "9A", "9C", "9F37", "82", "9F36", "9F10")
    data = b"".join(tags[tag] for tag in order)
    return pyemv.ac.generate_ac(session, data, pyemv.ac.PaddingType.EMV), session


def _components(key: bytes) -> list[bytes]:
    mask = MASK[: len(key)]
    return [mask, bytes(one ^ other for one, other in zip(mask, key, strict=True))]


def _rates(seconds: float, calls: Sequence[Callable[[int], object]]) -> list[float]:
    """Calls a second of processor time, in turns."""
    done, spent = [0] * len(calls), [0.0] * len(calls)
    for call in calls:
        _slice(call)  # what is made ready at first use is made ready now
    while min(spent) < seconds:
        place = spent.index(min(spent))
        spent[place] += _slice(calls[place])
        done[place] += SLICE
    return [count / time_spent for count, time_spent in zip(done, spent, strict=True)]


def _slice(call: Callable[[int], object]) -> float:
    """Processor seconds of this thread for SLICE calls."""
    began = time.thread_time()
    for _ in range(SLICE // SHAPES):
        for at in range(SHAPES):
            call(at)
    return time.thread_time() - began

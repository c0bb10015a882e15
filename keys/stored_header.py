"""A key's header as a keystore file has it: values of JSON, and back.

Refuses to know whether a key may have such a header. Read next: keystore.py, usages.py (check_header).
"""

from __future__ import annotations

from datetime import date
from typing import Any

from keys.kcv import Kcv, KcvMethod
from keys.keytypes import Algorithm, Exportability, KeyAttributes, KeyInfo, KeyMode, KeyState, KeyUsage


def header_of(info: KeyInfo) -> dict[str, Any]:
    """INFO as the file has it: codes, dates as YYYY-MM-DD, no attribute that the key has not."""
    attributes = {name: getattr(info.attributes, name) for name in KeyAttributes.__slots__}
    return {
        "label": info.label,
        "usage": info.usage.value,
        "algorithm": info.algorithm.value,
        "mode": info.mode.value,
        "exportability": info.exportability.value,
        "state": info.state.value,
        "version": info.version,
        "created": info.created.isoformat(),
        "active_from": info.active_from.isoformat() if info.active_from else None,
        "active_to": info.active_to.isoformat() if info.active_to else None,
        "bits": info.bits,
        "kcv": info.kcv.value,
        "kcv_method": info.kcv.method.value,
        "attributes": {name: value for name, value in attributes.items() if value is not None},
    }


def info_of(header: dict[str, Any]) -> KeyInfo:
    """And back. Raises KeyError, TypeError or ValueError where the file has something else."""
    return KeyInfo(
        label=header["label"],
        usage=KeyUsage(header["usage"]),
        algorithm=Algorithm(header["algorithm"]),
        mode=KeyMode(header["mode"]),
        exportability=Exportability(header["exportability"]),
        state=KeyState(header["state"]),
        version=header["version"],
        created=date.fromisoformat(header["created"]),
        active_from=_date(header["active_from"]),
        active_to=_date(header["active_to"]),
        bits=header["bits"],
        kcv=Kcv(header["kcv"], KcvMethod(header["kcv_method"])),
        attributes=KeyAttributes(**header["attributes"]),
    )


def _date(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)

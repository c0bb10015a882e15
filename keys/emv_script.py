"""Issuer scripts: commands to a card, with a MAC and perhaps enciphered data (EMV 4.3 book 2, 9, secure messaging format 2).

Everything is read and looked at before a key is derived: in a token that costs. Refuses to know what a command does.
Read next: emv.py, emv_profile.py (the rules of a scheme).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keys import emv, tdes
from keys.emv_profile import ATC, CRYPTOGRAM, ScriptKey, ScriptMac, ScriptMode, ScriptPadding, tag_of
from keys.errors import CardDataRefused
from keys.mac import pad

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keys.emv import Deriver
    from keys.emv_profile import Profile
    from keys.sensitive import Pan

HEADER_BYTES = 5
"""CLA INS P1 P2 Lc."""
DATA_MOST = 238
"""Bytes, so that a command can hold them enciphered, and a MAC."""


def mac(
    profile: Profile, issuer: Deriver, pan: Pan, psn: str, tags: Mapping[str, bytes], script: Sequence[bytes]
) -> bytes:
    r"""The MAC of the last command of SCRIPT (EMV book 2, 9.2), `script_mac_length` bytes of it.

    SCRIPT: the commands as far as this one, each CLA INS P1 P2 Lc and its data, enciphered where they are; no MACs. ISSUER:
    the issuer master key for script MACs, ready (emv.issuer). TAGS: 9F36 (2 bytes) and 9F26 (8) of the transaction. A chained
    MAC needs the whole MAC of the command before, of which the card is sent a part, so those are made again. Raises
    CardDataRefused: a tag is missing or has another length, a command has no header. KeyRefused where a token cannot derive
    the session key. Vector: pyemv's documentation (Visa CVN 18).

    >>> from keys.emv_profile import profiles
    >>> from keys.sensitive import Pan
    >>> issuer, pan = emv.issuer(b"\xbb" * 16), Pan("1234567890123456")
    >>> tags = {"9F36": bytes.fromhex("0FFF"), "9F26": bytes.fromhex("769577B5ABE9FE62")}
    >>> mac(profiles()["visa-cvn18"], issuer, pan, "00", tags, [bytes.fromhex("8418000008")]).hex().upper()
    'B5CB29759F9C3919'
    """
    if not script or any(len(command) < HEADER_BYTES for command in script):
        raise CardDataRefused("a script command has a header of 5 bytes")
    atc, arqc = _transaction(profile, tags)
    master_data = profile.master_data(pan, psn)
    first = 0 if profile.script_mac is ScriptMac.CHAINED else len(script) - 1
    master = issuer.derive(master_data)
    code = arqc
    for place, command in enumerate(script[first:], first):
        cryptogram = _counted(profile, arqc, place)
        data = _mac_data(profile, command, atc, cryptogram, code)
        code = emv.code(_session_key(profile, master, atc, cryptogram), data)
    return code[: profile.script_mac_length]


def encipher(
    profile: Profile,
    issuer: Deriver,
    pan: Pan,
    psn: str,
    tags: Mapping[str, bytes],
    data: bytes,
    place: int = 0,
) -> bytes:
    r"""The data (a PIN block of a PIN change) of a script command enciphered (EMV book 2, 9.3): whole blocks of 8 bytes.

    DATA: 1 to 238 bytes, so that a command can hold them and a MAC. PLACE: how many commands of the script stand before.
    ISSUER: the issuer master key for script secrecy, ready (emv.issuer). TAGS and errors as for `mac`. Vector: pyemv's
    documentation (Visa CVN 18; the new PIN is 9999).

    >>> from keys.emv_profile import profiles
    >>> from keys.sensitive import Pan
    >>> issuer, pan = emv.issuer(b"\xcc" * 16), Pan("1234567890123456")
    >>> tags = {"9F36": bytes.fromhex("0FFF"), "9F26": bytes.fromhex("769577B5ABE9FE62")}
    >>> encipher(profiles()["visa-cvn18"], issuer, pan, "00", tags, bytes.fromhex("049999FFD6BF6E68")).hex().upper()
    '2DC7A061323BA62472BC5308BD291B5F'
    """
    if not 0 < len(data) <= DATA_MOST:
        raise CardDataRefused(f"profile {profile.name}: script data have 1 to {DATA_MOST} bytes")
    atc, arqc = _transaction(profile, tags)
    master = issuer.derive(profile.master_data(pan, psn))
    session = _session_key(profile, master, atc, _counted(profile, arqc, place))
    if profile.script_padding is ScriptPadding.LENGTH_FIRST:
        data = bytes([len(data)]) + data
    if profile.script_padding is not ScriptPadding.IF_NEEDED or len(data) % tdes.BLOCK:
        data = pad(data, emv.PADDING_80)
    return session.whole(data) if profile.script_mode is ScriptMode.ECB else session.whole_chain(data)


def _transaction(profile: Profile, tags: Mapping[str, bytes]) -> tuple[bytes, bytes]:
    """ATC and ARQC."""
    atc, arqc = tag_of(profile, tags, ATC), tag_of(profile, tags, CRYPTOGRAM)
    if len(atc) != emv.ATC_BYTES or len(arqc) != emv.AC_BYTES:
        raise CardDataRefused(
            f"profile {profile.name}: a script wants tag {ATC} of {emv.ATC_BYTES} bytes and tag {CRYPTOGRAM} of {emv.AC_BYTES}"
        )
    return atc, arqc


def _counted(profile: Profile, arqc: bytes, place: int) -> bytes:
    """The ARQC that the command at PLACE is made with."""
    if profile.script_key is not ScriptKey.COUNTED_ARQC:
        return arqc
    return ((int.from_bytes(arqc) + place) % (1 << 8 * emv.AC_BYTES)).to_bytes(emv.AC_BYTES)


def _session_key(profile: Profile, master: Deriver, atc: bytes, arqc: bytes) -> Deriver:
    """Of the card's MASTER key for script MACs, or for secrecy."""
    if profile.script_key is ScriptKey.VISA:
        return master.masked(emv.visa_script_data(atc))
    r = emv.common_r(atc) if profile.script_key is ScriptKey.COMMON_ATC else arqc
    return master.derive(emv.session_data(r))


def _mac_data(profile: Profile, command: bytes, atc: bytes, arqc: bytes, before: bytes) -> bytes:
    """What the MAC of COMMAND is made of, before padding 80. BEFORE: the whole MAC of the command before, else the ARQC."""
    if profile.script_mac is ScriptMac.ATC_ARQC:
        return command[:HEADER_BYTES] + atc + arqc + command[HEADER_BYTES:]
    if profile.script_mac is ScriptMac.CHAINED:
        return before + command
    return command

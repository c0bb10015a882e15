"""The chip and the magnetic stripe of a test card: what they tell a terminal, and whether the chip believes the bank's answer.

A chip counts its transactions and signs each (EMV book 2, 8.1) by the rules of a scheme's profile, and does what a script says
whose MAC it finds right (9.2); the stripe carries a card verification value. The issuer's test keys come from outside and are
never those of a bank. Knows no wire but DE35 and DE55. Read next: wallet.py (the cards), keys/emv.py.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING

from gateway.simulator.errors import WalletError
from iso import tlv
from keys import emv
from keys.cvv import CardValue
from keys.emv_profile import ATC, CRYPTOGRAM, ISSUER_DATA, ArpcKey, Profile, ScriptKey, ScriptMac, profiles
from keys.keytypes import KeyUsage
from keys.software import SoftwareHsm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from gateway.simulator.wallet import TestCard
    from keys.emv import Deriver

RUPIAH, INDONESIA = "0360", "0360"
CHIP_SERVICE, STRIPE_SERVICE = "601", "501"
"""Service codes of national cards, with a chip and without (ISO/IEC 7813)."""
ANSWER = "91"
SCRIPTS, IDENTIFIER, COMMAND, RESULTS = ("71", "72"), "9F18", "86", "9F5B"
PIN_TRIES = 3
_ISSUER_DATA_BYTES = 28
_APPROVED, _APPROVES = "00", 0x80  # in DE39; in the second byte of a card status update (EMV book 3, annex C7)
_BLOCK_APPLICATION, _BLOCK_CARD, _PIN_UNBLOCK = b"\x84\x1e", b"\x84\x16", b"\x84\x24"  # EMV book 3, 6.5
_HEADER, _LENGTH_AT, _IDENTIFIER_BYTES = 5, 4, 4
_NOT_DONE, _FAILED, _TAKEN, _LAST_PLACE = 0x00, 0x10, 0x20, 0x0F
_VERIFICATION, _SCRIPT_FAILED = "95", 0x10
_VALUE_AT = 5
_PIN_REFERENCE = "0" * _VALUE_AT


def chips_of(path: Path, cards: Sequence[TestCard]) -> list[ChipCard]:
    """Chips for test cards, by the issuer's test keys of the file simulator/test-keys.json. Raises WalletError.

    The file: a list of {kind, components}, of which kinds imk-ac and cvk are looked for, and imk-smi where there is one;
    components are hex, and are XORed.
    """
    try:
        found = {one["kind"]: _joined(one["components"]) for one in json.loads(path.read_text(encoding="utf-8"))}
        return [ChipCard(card, found["imk-ac"], found["cvk"], smi=found.get("imk-smi")) for card in cards]
    except OSError as error:
        raise WalletError(f"test keys {path}: {error.strerror}") from None
    except KeyError as error:
        raise WalletError(f"test keys {path}: {error.args[0]} is missing") from None
    except (ValueError, TypeError):
        raise WalletError(f"test keys {path}: is not a file of key components") from None


@dataclass(slots=True, repr=False)
class ChipCard:
    """A test card with its chip. IMK, CVK: the issuer's test keys, 16 bytes. ATC: the last transaction's; it goes up itself.

    SMI: the issuer's test key for script MACs, None: the chip takes no scripts. BLOCKED: by a script; it signs nothing then.
    PIN_TRIES: what is left of the chip's own tries. RESULTS: of the last scripts, as the terminal tells them (tag 9F5B, hex).
    """

    card: TestCard
    imk: bytes
    cvk: bytes
    psn: str = "00"
    profile: Profile = field(default_factory=lambda: profiles()["nsiccs"])
    key_index: int = 1
    atc: int = 0
    smi: bytes | None = None
    blocked: bool = False
    pin_tries: int = PIN_TRIES
    results: str = ""

    def __repr__(self) -> str:
        return f"ChipCard({self.card.pan.masked})"

    def sign(self, amount: str, on: date, **changes: str) -> str:
        """DE55 of the next transaction, hex. AMOUNT: 12 digits, as in DE4. CHANGES: tags to sign otherwise, as t9F02="...".

        Raises WalletError where a script has blocked the chip: it asks for no transaction then.
        """
        if self.blocked:
            raise WalletError(f"the chip of {self.card.pan.masked} was blocked by its issuer")
        self.atc += 1
        tags = {
            "9F02": amount, "9F03": "0" * 12, "9F1A": INDONESIA, "95": "0000000000", "5F2A": RUPIAH, "9A": f"{on:%y%m%d}",
            "9C": "01", "9F37": hashlib.sha256(f"{self.atc}".encode()).hexdigest()[:8], "82": "5400", ATC: f"{self.atc:04X}",
            ISSUER_DATA: self._issuer_data().hex(), "5F34": self.psn, "9F27": "80",
        }  # fmt: skip
        tags |= {name[1:]: value for name, value in changes.items()}
        told = {tag: bytes.fromhex(value) for tag, value in tags.items()}
        told[CRYPTOGRAM] = self._cryptogram(told)
        return tlv.build(told.items()).hex().upper()

    def believes(self, chip_data: str, answer: str, code: str) -> bool:
        """Whether DE55 of an answer with response code CODE is the issuer's, for the DE55 sent (EMV book 2, 8.2).

        By method 2 the card hears of CODE alone whether the issuer approves: in its card status update.
        """
        told = dict(tlv.parse(bytes.fromhex(chip_data)))
        issuer = dict(tlv.parse(bytes.fromhex(answer))).get(ANSWER, b"")
        key = self._master() if self.profile.arpc_key is ArpcKey.MASTER else self._session(told)
        if self.profile.arpc_method != 1:
            status = issuer[emv.ARPC_2_BYTES :]
            if len(status) != emv.CSU_BYTES or bool(status[1] & _APPROVES) is not (code == _APPROVED):
                return False
            return issuer == emv.arpc_2(key, told[CRYPTOGRAM], status) + status
        arc = code.encode("ascii")
        return issuer == emv.arpc_1(key, told[CRYPTOGRAM], arc) + arc

    def obey(self, chip_data: str, answer: str, code: str) -> str:
        """Run the scripts of an answer, for the DE55 sent; returns their results as tag 9F5B, hex, "" where there was none.

        EMV book 3, 10.10, book 4, annex A5: 5 bytes a script, what became of it and its identifier. Nothing is done of an answer
        that the chip does not believe, and a command counts only with its right MAC.
        """
        told = dict(tlv.parse(bytes.fromhex(chip_data)))
        believed = self.believes(chip_data, answer, code)
        results = b""
        for tag, template in tlv.parse(bytes.fromhex(answer)):
            if tag in SCRIPTS:
                items = tlv.parse(template)
                commands = [value for one, value in items if one == COMMAND]
                result = _NOT_DONE if not believed else self._run(told, commands)
                results += bytes([result]) + dict(items).get(IDENTIFIER, bytes(_IDENTIFIER_BYTES))
        self.results = results.hex().upper()
        return self.results

    def confirm(self, chip_data: str) -> str:
        """DE55 of the message after a transaction, hex: of the DE55 sent the counter, and what became of the scripts."""
        told = dict(tlv.parse(bytes.fromhex(chip_data)))
        verification = bytearray(told[_VERIFICATION])
        if any(result >> 4 == _FAILED >> 4 for result in bytes.fromhex(self.results)[:: 1 + _IDENTIFIER_BYTES]):
            verification[-1] |= _SCRIPT_FAILED
        items = [(_VERIFICATION, bytes(verification)), (ATC, told[ATC]), (RESULTS, bytes.fromhex(self.results))]
        return tlv.build(items).hex().upper()

    def track2(self, service_code: str = STRIPE_SERVICE, *, from_chip: bool = False) -> str:
        """DE35: number, =, expiry YYMM, service code, five digits for a PIN reference, the verification value.

        FROM_CHIP: as the chip tells it (tag 57), with the chip's own value (iCVV), which is none of the stripe's.
        """
        hsm = SoftwareHsm.in_memory()
        half = hashlib.sha256(self.cvk).digest()[: len(self.cvk)]
        key = hsm.form(KeyUsage.CARD_VERIFICATION, "cvk", [half, bytes(map(xor, self.cvk, half))])
        expiry = f"{self.card.expires:%y%m}"
        if from_chip:
            value = hsm.card_value(CardValue.ICVV, key, self.card.pan, expiry)
        else:
            value = hsm.card_value(CardValue.CVV1, key, self.card.pan, expiry, service_code)
        return f"{self.card.pan.reveal()}={expiry}{service_code}{_PIN_REFERENCE}{value}"

    def _run(self, told: Mapping[str, bytes], commands: Sequence[bytes]) -> int:
        """The commands of a script in their order, as far as their MACs are right; the first byte of its result."""
        before = told[CRYPTOGRAM]
        for place, command in enumerate(commands):
            body, mac = command[: -self.profile.script_mac_length], command[-self.profile.script_mac_length :]
            whole = self._script_mac(told, body, before, place)
            right = (
                whole is not None and whole[: len(mac)] == mac and len(body) + len(mac) == _HEADER + command[_LENGTH_AT]
            )
            if not right or not self._do(body[:2]):
                return _FAILED + min(place + 1, _LAST_PLACE)
            before = whole or b""
        return _TAKEN

    def _do(self, instruction: bytes) -> bool:
        """What a command says. Returns False for one that the chip does not know."""
        if instruction in (_BLOCK_APPLICATION, _BLOCK_CARD):
            self.blocked = True
        elif instruction == _PIN_UNBLOCK:
            self.pin_tries = PIN_TRIES
        else:
            return False
        return True

    def _script_mac(self, told: Mapping[str, bytes], body: bytes, before: bytes, place: int) -> bytes | None:
        """The whole MAC of a command, by the chip's own keys; BEFORE: of the command before. None: it has no key for scripts."""
        if self.smi is None:
            return None
        rules, atc, arqc = self.profile, told[ATC], told[CRYPTOGRAM]
        master = emv.issuer(self.smi).derive(rules.master_data(self.card.pan, self.psn))
        if rules.script_key is ScriptKey.COUNTED_ARQC:
            arqc = ((int.from_bytes(arqc) + place) % 2**64).to_bytes(emv.AC_BYTES)
        if rules.script_key is ScriptKey.VISA:
            key = master.masked(emv.visa_script_data(atc))
        else:
            key = master.derive(
                emv.session_data(emv.common_r(atc) if rules.script_key is ScriptKey.COMMON_ATC else arqc)
            )
        if rules.script_mac is ScriptMac.ATC_ARQC:
            return emv.code(key, body[:_HEADER] + atc + arqc + body[_HEADER:])
        return emv.code(key, before + body if rules.script_mac is ScriptMac.CHAINED else body)

    def _issuer_data(self) -> bytes:
        """Tag 9F10 with version and key index where the profile has them."""
        data = bytearray(_ISSUER_DATA_BYTES)
        data[self.profile.cvn_at] = self.profile.cvn[0]
        if self.profile.key_index_at is not None:
            data[self.profile.key_index_at] = self.key_index
        return bytes(data)

    def _cryptogram(self, told: Mapping[str, bytes]) -> bytes:
        return emv.code(self._session(told), self.profile.read(told).data, self.profile.padding)

    def _session(self, told: Mapping[str, bytes]) -> Deriver:
        r = self.profile.read(told).r
        return self._master() if r is None else self._master().derive(emv.session_data(r))

    def _master(self) -> Deriver:
        return emv.issuer(self.imk).derive(self.profile.master_data(self.card.pan, self.psn))


def _joined(components: Sequence[str]) -> bytes:
    """The key of components in hex. Raises ValueError where they have not one length."""
    values = [bytes.fromhex(one) for one in components]
    return bytes(reduce(xor, column) for column in zip(*values, strict=True))

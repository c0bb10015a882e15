"""The chip and the magnetic stripe of a test card: what they tell a terminal, and whether the chip believes the bank's answer.

A chip counts its transactions and signs each (EMV book 2, 8.1) by the rules of a scheme's profile; the stripe carries a card
verification value. The issuer's test keys come from outside and are never those of a bank. Knows no wire but DE35 and DE55.
Read next: wallet.py (the cards), keys/emv.py.
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
from keys.emv_profile import ATC, CRYPTOGRAM, ISSUER_DATA, ArpcKey, Profile, profiles
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
_ISSUER_DATA_BYTES = 28
_APPROVED, _APPROVES = "00", 0x80  # in DE39; in the second byte of a card status update (EMV book 3, annex C7)
_VALUE_AT = 5
_PIN_REFERENCE = "0" * _VALUE_AT


def chips_of(path: Path, cards: Sequence[TestCard]) -> list[ChipCard]:
    """Chips for test cards, by the issuer's test keys of the file simulator/test-keys.json. Raises WalletError.

    The file: a list of {kind, components}, of which kinds imk-ac and cvk are looked for; components are hex, and are XORed.
    """
    try:
        found = {one["kind"]: _joined(one["components"]) for one in json.loads(path.read_text(encoding="utf-8"))}
        return [ChipCard(card, found["imk-ac"], found["cvk"]) for card in cards]
    except OSError as error:
        raise WalletError(f"test keys {path}: {error.strerror}") from None
    except KeyError as error:
        raise WalletError(f"test keys {path}: {error.args[0]} is missing") from None
    except (ValueError, TypeError):
        raise WalletError(f"test keys {path}: is not a file of key components") from None


@dataclass(slots=True, repr=False)
class ChipCard:
    """A test card with its chip. IMK, CVK: the issuer's test keys, 16 bytes. ATC: the last transaction's; it goes up itself."""

    card: TestCard
    imk: bytes
    cvk: bytes
    psn: str = "00"
    profile: Profile = field(default_factory=lambda: profiles()["nsiccs"])
    key_index: int = 1
    atc: int = 0

    def __repr__(self) -> str:
        return f"ChipCard({self.card.pan.masked})"

    def sign(self, amount: str, on: date, **changes: str) -> str:
        """DE55 of the next transaction, hex. AMOUNT: 12 digits, as in DE4. CHANGES: tags to sign otherwise, as t9F02="..."."""
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

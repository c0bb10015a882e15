"""Card commands of a local back end: CVV, CVV2, iCVV and dynamic CVV; chip cryptograms, their answers, issuer scripts.

Refuses to know which card is whose and what was decided. Read next: cvv.py, emv.py, emv_profile.py, emv_script.py,
toolbox.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from keys import cvv, emv, emv_profile, emv_script
from keys.cvv import CardValue, ExpiryOrder
from keys.envelope import Raw
from keys.errors import CardDataRefused, KeyRefused
from keys.hsm import ChipAnswer
from keys.mac import same
from keys.permissions import Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from keys.emv import Deriver
    from keys.emv_profile import Profile
    from keys.keytypes import KeyHandle, KeyInfo
    from keys.sensitive import Pan
    from keys.toolbox import Ready, Toolbox
    from keys.workshop import Workshop


class CardOperations(Generic[Raw]):
    """The commands of hsm.CardCommands."""

    def __init__(self, tools: Toolbox[Raw], workshop: Workshop[Raw]) -> None:
        def value_maker(info: KeyInfo, raw: Raw) -> Callable[[bytes], str]:
            return cvv.maker(workshop.half_encipherer(info, raw), workshop.encipherer(info, raw))

        def issuer(operation: Operation) -> Ready[Callable[[], AbstractContextManager[Deriver]]]:
            return tools.ready(operation, workshop.deriving)

        self._make_value = tools.ready(Operation.MAKE_CARD_VALUE, value_maker)
        self._verify_value = tools.ready(Operation.VERIFY_CARD_VALUE, value_maker)
        self._dynamic = issuer(Operation.VERIFY_DYNAMIC_VALUE)
        self._cryptogram = issuer(Operation.VERIFY_CRYPTOGRAM)
        self._script_mac = issuer(Operation.MAC_SCRIPT)
        self._script_secrecy = issuer(Operation.ENCIPHER_SCRIPT)

    def card_value(
        self,
        kind: CardValue,
        key: KeyHandle,
        pan: Pan,
        expiry: str,
        service_code: str | None = None,
        order: ExpiryOrder = ExpiryOrder.YYMM,
    ) -> str:
        """CVV, CVV2 or iCVV of a card to be issued."""
        return self._make_value[key](_value_data(kind, pan, expiry, service_code, order))

    def verify_card_value(
        self,
        kind: CardValue,
        key: KeyHandle,
        pan: Pan,
        expiry: str,
        value: str,
        service_code: str | None = None,
        order: ExpiryOrder = ExpiryOrder.YYMM,
    ) -> bool:
        """Whether VALUE is the card's. What cannot be computed is False as well."""
        make = self._verify_value[key]
        try:
            return _same_digits(make(_value_data(kind, pan, expiry, service_code, order)), value)
        except CardDataRefused:
            return False

    def verify_dynamic_value(
        self, key: KeyHandle, pan: Pan, psn: str, expiry: str, service_code: str, counter: str, value: str
    ) -> bool:
        """Whether VALUE is the dynamic CVV of this ATC."""
        issuer = self._dynamic[key]
        try:
            data = cvv.card_data(CardValue.DCVV, pan, expiry, service_code, counter)
            master = emv.option_a_data(pan, psn)
        except CardDataRefused:
            return False
        with issuer() as imk:
            card = imk.derive(master)
            return _same_digits(cvv.maker(card.half, card.whole)(data), value)

    def verify_cryptogram(
        self,
        profile: Profile,
        key: KeyHandle,
        pan: Pan,
        psn: str,
        tags: Mapping[str, bytes],
        answer: bytes,
        proprietary: bytes = b"",
    ) -> ChipAnswer:
        """ARQC verification and ARPC in one call."""
        arqc = emv_profile.tag_of(profile, tags, emv_profile.CRYPTOGRAM)
        with self._cryptogram[key]() as issuer:
            verdict = emv_profile.verify(profile, issuer, pan, psn, tags, arqc, answer, proprietary)
        return ChipAnswer(verdict.ok, verdict.arpc)

    def script_mac(
        self,
        profile: Profile,
        key: KeyHandle,
        pan: Pan,
        psn: str,
        tags: Mapping[str, bytes],
        command: bytes,
        before: Sequence[bytes] = (),
    ) -> bytes:
        """The MAC of an issuer script command, after those BEFORE it."""
        with self._script_mac[key]() as issuer:
            return emv_script.mac(profile, issuer, pan, psn, tags, (*before, command))

    def script_encipher(
        self,
        profile: Profile,
        key: KeyHandle,
        pan: Pan,
        psn: str,
        tags: Mapping[str, bytes],
        data: bytes,
        place: int = 0,
    ) -> bytes:
        """The confidential data of an issuer script command."""
        with self._script_secrecy[key]() as issuer:
            return emv_script.encipher(profile, issuer, pan, psn, tags, data, place)


def _value_data(kind: CardValue, pan: Pan, expiry: str, service_code: str | None, order: ExpiryOrder) -> bytes:
    """The 16 bytes a value is made over."""
    if kind is CardValue.DCVV:
        raise KeyRefused("a dynamic CVV is verified with the issuer's dynamic number key, and never made here")
    return cvv.card_data(kind, pan, cvv.ordered_expiry(expiry, order), service_code)


def _same_digits(expected: str, value: str) -> bool:
    return same(expected.encode("ascii"), value.encode("utf-8", "replace"))

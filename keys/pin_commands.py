"""PIN commands of a local back end: verify, choose, change, make at random, translate.

The clear block is in this process for the moment of the comparison, never longer: that is what a payment HSM does inside and a
general one cannot (docs/threat-model.md). Refuses to count tries: whoever asks has counted before. Read next: pinblock.py,
pin.py, pvv.py, toolbox.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple

from keys import pvv
from keys.dukpt_commands import DukptKeys
from keys.envelope import Raw
from keys.errors import KeyRefused, KsnRefused, PinRefusal, PinRefused
from keys.hsm import Dukpt, NewPin, PinToVerify
from keys.keytypes import KeyHandle, KeyInfo, KeyUsage
from keys.mac import same
from keys.permissions import Operation
from keys.pin import POLICY_DIGITS, decimalisation_map, natural_pin, offset_of, pin_of, refuse_weak, weakness
from keys.pinblock import (
    BLOCK_BYTES,
    PinFormat,
    account_field,
    block_of,
    check_translation,
    decipher_block,
    encipher_block,
)
from keys.sensitive import Pin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    from keys.sensitive import Pan
    from keys.toolbox import Toolbox
    from keys.workshop import Workshop


_FAIR_BYTES = 250


class _BlockCipher(NamedTuple):
    """A PIN key made ready, and the cipher it is of: an algorithm code of X9.143."""

    run: Callable[[bytes], bytes]
    algorithm: str


class _Ibm3624(NamedTuple):
    """A PVK of IBM 3624 made ready. References are offsets."""

    encipher: Callable[[bytes], bytes]
    decimals: bytes
    digits: int

    def reference(self, pan: Pan, pin: str) -> str:
        return offset_of(natural_pin(self.encipher(account_field(pan)), self.decimals, self.digits), pin)

    def is_right(self, account: bytes, enciphered: bytes, offset: str, clear: bytes) -> bool:
        """Whether CLEAR is the format 0 block of the right PIN, given the enciphered validation data of its account field."""
        right = pin_of(natural_pin(enciphered, self.decimals, self.digits), offset)
        return same(block_of(right, self.digits, account), clear)


class _Pvv(NamedTuple):
    """A PVK of the PVV method made ready. References are PVVs, which cover the first four digits of a PIN and no more."""

    encipher: Callable[[bytes], bytes]
    pvki: int

    def reference(self, pan: Pan, pin: str) -> str:
        return pvv.pvv(self.encipher, pan, self.pvki, pin)


class PinOperations(Generic[Raw]):
    """The commands of hsm.PinCommands."""

    def __init__(self, tools: Toolbox[Raw], workshop: Workshop[Raw]) -> None:
        def enciphering(info: KeyInfo, raw: Raw) -> _BlockCipher:
            return _BlockCipher(workshop.encipherer(info, raw), info.algorithm.value)

        def deciphering(info: KeyInfo, raw: Raw) -> _BlockCipher:
            return _BlockCipher(workshop.decipherer(info, raw), info.algorithm.value)

        def verification(info: KeyInfo, raw: Raw) -> _Ibm3624 | _Pvv:
            return _verification(info, workshop.encipherer(info, raw))

        self._pin_random = workshop.random
        self._pin_tools = tools
        self._pin_encipher = tools.ready(Operation.ENCIPHER_PIN, enciphering)
        self._pin_decipher = tools.ready(Operation.DECIPHER_PIN, deciphering)
        self._pin_make = tools.ready(Operation.MAKE_REFERENCE, verification)
        self._pin_verify = tools.ready(Operation.VERIFY_PIN, verification)
        self._pin_dukpt = DukptKeys(tools, workshop, Operation.DERIVE_PIN_KEY)

    def encipher_pin(
        self, pin: Pin, key: KeyHandle | Dukpt, pan: Pan, pin_format: PinFormat = PinFormat.ISO_0
    ) -> bytes:
        """A PIN block, as a terminal makes it."""
        if isinstance(key, Dukpt):
            cipher = _BlockCipher(*self._pin_dukpt.pin_cipher(key, encipher=True))
        else:
            cipher = self._pin_encipher[key]
        self._check_format(cipher, key, Operation.ENCIPHER_PIN, pin_format)
        with self._pin_tools.telling(*_use(key, Operation.ENCIPHER_PIN)):
            return encipher_block(pin_format, cipher.run, pin, pan, self._pin_random)

    def verify_pin(self, asked: PinToVerify, verification_key: KeyHandle) -> bool:
        """Whether the PIN in the block is the card's."""
        method = self._pin_verify[verification_key]
        whole = self._whole(asked, method)
        if whole is None:
            return self._verify_alone(asked, method)
        ibm, key = whole
        if not _is_formed(asked, ibm):
            return False
        account = account_field(asked.pan)
        return ibm.is_right(account, ibm.encipher(account), asked.reference, self._pin_decipher[key].run(asked.block))

    def verify_pins(self, asked: Sequence[PinToVerify], verification_key: KeyHandle) -> list[bool]:
        """verify_pin for many at once.

        Those that are compared as a whole take two calls of the cipher, one for all validation data and one a ZPK for its blocks.
        """
        method = self._pin_verify[verification_key]
        answers = [False] * len(asked)
        together: dict[KeyHandle, list[int]] = {}
        for place, one in enumerate(asked):
            whole = self._whole(one, method)
            if whole is None:
                answers[place] = self._verify_alone(one, method)
            elif _is_formed(one, whole[0]):
                together.setdefault(whole[1], []).append(place)
        if isinstance(method, _Ibm3624):
            for key, places in together.items():
                self._verify_together(asked, places, key, method, answers)
        return answers

    def choose_pin(
        self,
        block: bytes,
        key: KeyHandle | Dukpt,
        verification_key: KeyHandle,
        pan: Pan,
        birth_date: date | None,
        pin_format: PinFormat = PinFormat.ISO_0,
    ) -> str:
        """The reference value of the PIN in the block. Raises PinRefused where the block is bad or the PIN weak."""
        method = self._pin_make[verification_key]
        digits = self._clear(block, key, pan, pin_format)
        if digits is None:
            raise PinRefused(PinRefusal.BAD_BLOCK)
        refuse_weak(digits, birth_date, _digits(method))
        return method.reference(pan, digits)

    def change_pin(
        self, old: PinToVerify, new_block: bytes, verification_key: KeyHandle, birth_date: date | None
    ) -> str:
        """The new reference value, if the old PIN is right: else PinRefused WRONG_PIN. The caller stores it."""
        if not self.verify_pin(old, verification_key):
            raise PinRefused(PinRefusal.WRONG_PIN)
        return self.choose_pin(new_block, old.key, verification_key, old.pan, birth_date, old.pin_format)

    def random_pin(
        self, key: KeyHandle, verification_key: KeyHandle, pan: Pan, pin_format: PinFormat = PinFormat.ISO_0
    ) -> NewPin:
        """A random PIN that is not weak, of as many digits as the key checks (six, unless it was made for others)."""
        method = self._pin_make[verification_key]
        digits = method.digits if isinstance(method, _Ibm3624) else POLICY_DIGITS
        pin = self._random_digits(digits)
        while weakness(pin, digits=digits) is not None:
            pin = self._random_digits(digits)
        return NewPin(self.encipher_pin(Pin(pin), key, pan, pin_format), method.reference(pan, pin))

    def translate_pin(
        self, block: bytes, source: KeyHandle | Dukpt, target: KeyHandle, pan: Pan, formats: tuple[PinFormat, PinFormat]
    ) -> bytes:
        """The same PIN, of the same PAN, under another key and in another format."""
        handle, operation = _use(source, Operation.DECIPHER_PIN)
        with self._pin_tools.telling(handle, operation):
            check_translation(*formats)
            if formats[1] is PinFormat.ISO_1:
                raise KeyRefused("a PIN block of format 1 is read here and never made")
        self._check_format(self._pin_encipher[target], target, Operation.ENCIPHER_PIN, formats[1])
        try:
            digits = self._read(block, source, pan, formats[0])
        except KsnRefused:  # told already
            raise PinRefused(PinRefusal.BAD_BLOCK) from None
        if digits is None:  # whoever sees many of these is guessing digits by changing PANs: the auditor hears of each
            self._pin_tools.tell(handle, operation, "a PIN block to be translated is none of its PAN")
            raise PinRefused(PinRefusal.BAD_BLOCK)
        return self.encipher_pin(Pin(digits), target, pan, formats[1])

    def _random_digits(self, count: int) -> str:
        """COUNT digits, each as likely as any other: bytes from 250 on would favour 0 to 5."""
        digits = ""
        while len(digits) < count:
            digits += "".join(str(byte % 10) for byte in self._pin_random(2 * count) if byte < _FAIR_BYTES)
        return digits[:count]

    def _clear(self, block: bytes, key: KeyHandle | Dukpt, pan: Pan, pin_format: PinFormat) -> str | None:
        """The digits in a block; None for a bad one, and for one of a KSN that cannot be."""
        try:
            return self._read(block, key, pan, pin_format)
        except KsnRefused:
            return None

    def _read(self, block: bytes, key: KeyHandle | Dukpt, pan: Pan, pin_format: PinFormat) -> str | None:
        """The digits in a block; None for a bad one. Raises KsnRefused for a KSN that cannot be."""
        if isinstance(key, Dukpt):
            cipher = _BlockCipher(*self._pin_dukpt.pin_cipher(key, encipher=False))
        else:
            cipher = self._pin_decipher[key]
        self._check_format(cipher, key, Operation.DECIPHER_PIN, pin_format)
        with self._pin_tools.telling(*_use(key, Operation.DECIPHER_PIN)):
            return decipher_block(pin_format, cipher.run, block, pan)

    def _check_format(
        self, cipher: _BlockCipher, key: KeyHandle | Dukpt, operation: Operation, pin_format: PinFormat
    ) -> None:
        """Raise KeyRefused, and tell, where a block of this format is not enciphered by the algorithm of the key."""
        if cipher.algorithm != pin_format.cipher:
            with self._pin_tools.telling(*_use(key, operation)):
                raise KeyRefused(
                    f"a PIN block of {pin_format.value} is not made or read with a key of algorithm {cipher.algorithm}"
                )

    def _whole(self, one: PinToVerify, method: _Ibm3624 | _Pvv) -> tuple[_Ibm3624, KeyHandle] | None:
        """Method and key where the block is compared as a whole: format 0 under a ZPK and IBM 3624. Else None.

        The question is then whether the block is, byte for byte, the one that the right PIN makes: one comparison for every cause
        of failure, and nothing to tell one from another by. A key of another algorithm is refused whatever the block.
        """
        if isinstance(one.key, Dukpt) or one.pin_format is not PinFormat.ISO_0 or isinstance(method, _Pvv):
            return None
        self._check_format(self._pin_decipher[one.key], one.key, Operation.DECIPHER_PIN, one.pin_format)
        return method, one.key

    def _verify_alone(self, one: PinToVerify, method: _Ibm3624 | _Pvv) -> bool:
        """Reference against reference: the work is the same whether the block decoded or not."""
        digits = self._clear(one.block, one.key, one.pan, one.pin_format)
        fits = digits is not None and (isinstance(method, _Pvv) or len(digits) == method.digits)
        expected = method.reference(one.pan, digits if fits and digits is not None else "0" * _digits(method))
        right = same(expected.encode("ascii"), one.reference.encode("utf-8", "replace"))
        return right and fits

    def _verify_together(
        self, asked: Sequence[PinToVerify], places: list[int], key: KeyHandle, method: _Ibm3624, answers: list[bool]
    ) -> None:
        accounts = [account_field(asked[place].pan) for place in places]
        enciphered = method.encipher(b"".join(accounts))
        clear = self._pin_decipher[key].run(b"".join([asked[place].block for place in places]))
        for at, (place, account) in enumerate(zip(places, accounts, strict=True)):
            piece = slice(at * BLOCK_BYTES, (at + 1) * BLOCK_BYTES)
            answers[place] = method.is_right(account, enciphered[piece], asked[place].reference, clear[piece])


def _verification(info: KeyInfo, encipher: Callable[[bytes], bytes]) -> _Ibm3624 | _Pvv:
    """The method belongs to the key, and so do its table, its length and its index."""
    attributes = info.attributes
    if info.usage is KeyUsage.PIN_VERIFICATION_PVV:
        return _Pvv(encipher, attributes.pvki or 0)
    return _Ibm3624(encipher, decimalisation_map(attributes.decimalisation_table or ""), attributes.check_length or 0)


def _use(key: KeyHandle | Dukpt, operation: Operation) -> tuple[KeyHandle, Operation]:
    """Which key does which operation: of a DUKPT terminal its base key, which derives the PIN key."""
    return (key.key, Operation.DERIVE_PIN_KEY) if isinstance(key, Dukpt) else (key, operation)


def _digits(method: _Ibm3624 | _Pvv) -> int:
    return method.digits if isinstance(method, _Ibm3624) else POLICY_DIGITS


def _is_formed(one: PinToVerify, method: _Ibm3624) -> bool:
    """Whether block and reference can be compared at all."""
    reference = one.reference
    formed = len(reference) == method.digits and reference.isascii() and reference.isdigit()
    return formed and len(one.block) == BLOCK_BYTES

"""Key serial numbers of DUKPT: which device, which of its transactions; and the memory that refuses a number used before.

A KSN is no secret, but nobody vouches for it either: until the message under its key is found authentic, anybody may have sent
it. Refuses to know keys. Read next: dukpt_tdes.py and dukpt_aes.py, which make the keys of a KSN.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, ClassVar, Self

from keys.errors import KsnRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEY_SET_BYTES = 5
DEVICE_BITS = 19

TDES_BYTES, TDES_COUNTER_BITS, TDES_ONES_MOST = 10, 21, 10
AES_BYTES, AES_COUNTER_BITS, AES_ONES_MOST = 12, 32, 16
INITIAL_KEY_ID_BYTES = 8


class _Ksn(ABC):
    """What both kinds of KSN have: a counter, and how it goes on."""

    __slots__ = ()
    _COUNTER_BITS: ClassVar[int]
    _ONES_MOST: ClassVar[int]
    counter: int

    @classmethod
    @abstractmethod
    def _read(cls, given: bytes | str) -> Self:
        """Any counter."""

    @classmethod
    def parse(cls, given: bytes | str) -> Self:
        """The KSN of a transaction, as bytes or twice as many hex digits. Raises KsnRefused, also for counter zero."""
        ksn = cls._read(given)
        ksn.refuse_initial()
        return ksn

    @classmethod
    def parse_initial(cls, given: bytes | str) -> Self:
        """The KSN that goes into a device with its initial key: counter zero, nothing else. Raises KsnRefused."""
        ksn = cls._read(given)
        if ksn.counter != 0:
            raise KsnRefused("the KSN of an initial key has counter zero")
        return ksn

    def refuse_initial(self) -> None:
        """Raise KsnRefused for counter zero."""
        if self.counter == 0:
            raise KsnRefused("counter zero of a KSN is the initial key's: no transaction has it")

    def following(self) -> Self:
        """The KSN of the device's next transaction. Raises KsnRefused where it has no keys left.

        With as many one-bits as may be, counters that would have one more are skipped (X9.24-1:2009 A.2, X9.24-3:2017 6.3).

        >>> print(TdesKsn.parse("FFFF9876543210EFFC00").following())
        FFFF9876543210F00000
        >>> print(AesKsn.parse("12345678901234560001FFFE").following())
        123456789012345600020000
        """
        step = 1 if self.counter.bit_count() < self._ONES_MOST else self.counter & -self.counter
        if self.counter + step >> self._COUNTER_BITS:
            raise KsnRefused("the device has used all its keys: it needs a new initial key")
        whole = bytes(self)  # in which the counter stands last
        return self._read((int.from_bytes(whole) + step).to_bytes(len(whole)))

    def _refuse_counter(self) -> None:
        if self.counter not in range(1 << self._COUNTER_BITS):
            raise KsnRefused(f"the counter of the KSN is not one of {self._COUNTER_BITS} bits")
        if self.counter.bit_count() > self._ONES_MOST:
            raise KsnRefused(f"the counter of the KSN has more than {self._ONES_MOST} one-bits: no device counts to it")

    @abstractmethod
    def __bytes__(self) -> bytes:
        """As it is sent."""

    def __str__(self) -> str:
        return bytes(self).hex().upper()


@dataclass(frozen=True, slots=True)
class TdesKsn(_Ksn):
    """The KSN of triple DES DUKPT (ANSI X9.24-1:2009 A.1). 10 bytes: key set id (40 bits), device id (19), counter (21).

    Raises KsnRefused for a part too long, or a counter of more than 10 one-bits: a device skips those.

    >>> ksn = TdesKsn.parse("FFFF9876543210F00000")
    >>> ksn.key_set_id.hex().upper(), f"{ksn.device_id:05X}", f"{ksn.counter:06X}"
    ('FFFF987654', '19087', '100000')
    """

    _COUNTER_BITS: ClassVar[int] = TDES_COUNTER_BITS
    _ONES_MOST: ClassVar[int] = TDES_ONES_MOST

    key_set_id: bytes
    """5 bytes: whose base derivation key, and which of them."""

    device_id: int
    """19 bits: the device among those of its key set."""

    counter: int
    """21 bits: the device's transactions so far; 0 is the initial key's own."""

    def __post_init__(self) -> None:
        if len(self.key_set_id) != KEY_SET_BYTES or self.device_id not in range(1 << DEVICE_BITS):
            raise KsnRefused("a TDES KSN has a key set id of 5 bytes and a device id of 19 bits")
        self._refuse_counter()

    @classmethod
    def _read(cls, given: bytes | str) -> Self:
        value = int.from_bytes(_octets(given, TDES_BYTES, "TDES"))
        counter = value & (1 << TDES_COUNTER_BITS) - 1
        device = value >> TDES_COUNTER_BITS & (1 << DEVICE_BITS) - 1
        return cls((value >> TDES_COUNTER_BITS + DEVICE_BITS).to_bytes(KEY_SET_BYTES), device, counter)

    @property
    def initial_ksn(self) -> bytes:
        """The same KSN with counter zero, 10 bytes: what the initial key is derived from."""
        return bytes(replace(self, counter=0))

    @property
    def device(self) -> str:
        """The name of the device in a `KsnMemory`: the initial KSN, 20 hex digits."""
        return self.initial_ksn.hex().upper()

    def __bytes__(self) -> bytes:
        tail = self.device_id << TDES_COUNTER_BITS | self.counter
        return self.key_set_id + tail.to_bytes(TDES_BYTES - KEY_SET_BYTES)


@dataclass(frozen=True, slots=True)
class AesKsn(_Ksn):
    """The KSN of AES DUKPT (ANSI X9.24-3:2017 clause 6). 12 bytes: initial key id (64 bits), counter (32).

    Raises KsnRefused for an id of another length, or a counter of more than 16 one-bits: a device skips those.

    >>> AesKsn.parse("123456789012345600020001").counter
    131073
    """

    _COUNTER_BITS: ClassVar[int] = AES_COUNTER_BITS
    _ONES_MOST: ClassVar[int] = AES_ONES_MOST

    initial_key_id: bytes
    """8 bytes: 4 name the base derivation key, 4 the device's initial key."""

    counter: int
    """32 bits: the device's transactions so far; 0 is the initial key's own."""

    def __post_init__(self) -> None:
        if len(self.initial_key_id) != INITIAL_KEY_ID_BYTES:
            raise KsnRefused("an AES KSN has an initial key id of 8 bytes")
        self._refuse_counter()

    @classmethod
    def _read(cls, given: bytes | str) -> Self:
        octets = _octets(given, AES_BYTES, "AES")
        return cls(octets[:INITIAL_KEY_ID_BYTES], int.from_bytes(octets[INITIAL_KEY_ID_BYTES:]))

    @property
    def device(self) -> str:
        """The name of the device in a `KsnMemory`: the initial key id, 16 hex digits."""
        return self.initial_key_id.hex().upper()

    def __bytes__(self) -> bytes:
        return self.initial_key_id + self.counter.to_bytes(AES_BYTES - INITIAL_KEY_ID_BYTES)


def steps(counter: int) -> Iterator[int]:
    """The counters whose keys lead from the initial key to COUNTER's: its one-bits set one by one, the highest first.

    X9.24-1:2009 A.3, X9.24-3:2017 6.3.1: both kinds of DUKPT. By hand.

    >>> [f"{step:05b}" for step in steps(0b10110)]
    ['10000', '10100', '10110']
    """
    reached = 0
    while counter:
        highest = 1 << counter.bit_length() - 1
        reached |= highest
        counter ^= highest
        yield reached


class KsnMemory:
    """The last counter of each device (X9.24-1:2009 A.1): a KSN is taken once, and none older than the last one taken.

    It never forgets: a forgotten device could replay all it ever sent. So LIMIT devices are the most, and one more is an error.
    A device is retired by retiring its initial key; then a memory may be made from `state` without its entry. One memory
    may serve several threads. It knows nothing of other processes: where there are several, the database decides, by an
    update of the device's row on the condition that its counter is below the new one.

    Take a KSN only after its message proved authentic: a made-up counter far ahead would lock the true device out, and
    made-up devices would fill the memory.

    >>> memory = KsnMemory(1000)
    >>> memory.take(TdesKsn.parse("FFFF9876543210E00003"))
    >>> memory.state()
    {'FFFF9876543210E00000': 3}
    """

    __slots__ = ("_last", "_limit", "_lock")

    def __init__(self, limit: int, state: Mapping[str, int] | None = None) -> None:
        """LIMIT: devices, 1 or more. STATE: what `state` gave before. Raises KsnRefused for a state that cannot be one."""
        if limit < 1:
            raise KsnRefused("a KSN memory holds at least one device")
        self._limit = limit
        self._last = dict(state or {})
        self._lock = Lock()
        if len(self._last) > limit:
            raise KsnRefused(f"the state of a KSN memory has {len(self._last)} devices, more than the limit of {limit}")
        for device, counter in self._last.items():
            _refuse_entry(device, counter)

    def take(self, ksn: TdesKsn | AesKsn) -> None:
        """Mark KSN as used. Raises KsnRefused for counter zero, one used or passed already, and one device too many."""
        device = ksn.device
        with self._lock:
            last = self._last.get(device, 0)
            if ksn.counter <= last:
                raise KsnRefused(f"KSN {ksn}: the device has counted to {last} already")
            if last == 0 and len(self._last) >= self._limit:
                raise KsnRefused(f"KSN {ksn}: the memory is full with {self._limit} devices")
            self._last[device] = ksn.counter

    def state(self) -> dict[str, int]:
        """Device (initial KSN or initial key id, hex) to its last counter: a copy, to be stored and given back."""
        with self._lock:
            return dict(self._last)


def _octets(given: bytes | str, length: int, name: str) -> bytes:
    """GIVEN as LENGTH bytes. fromhex alone would let spaces pass, so both lengths are looked at."""
    octets = given
    if isinstance(octets, str):
        try:
            octets = bytes.fromhex(octets) if len(octets) == 2 * length else b""
        except ValueError:
            raise KsnRefused(f"the {name} KSN is not hexadecimal") from None
    if len(octets) != length:
        raise KsnRefused(f"the {name} KSN has not {length} bytes ({2 * length} hex digits)")
    return octets


def _refuse_entry(device: str, counter: int) -> None:
    """Raise KsnRefused unless DEVICE is as `device` names one and COUNTER one that it may have used."""
    kind = TdesKsn if len(device) == 2 * TDES_BYTES else AesKsn
    digits = device if kind is TdesKsn else device + "00000000"
    ksn = kind.parse_initial(digits)
    if ksn.device != device or counter == 0:
        raise KsnRefused("the state of a KSN memory has an entry that no KSN makes")
    replace(ksn, counter=counter)

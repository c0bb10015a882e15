"""The HSM in a PKCS#11 token: keys are enciphered and used inside; this process has handles of the token's objects.

The keystore file holds each key wrapped under the token's AES-256 master key (AES-KW, RFC 3394) with a MAC over header and
wrapped key under another token key, since AES-KW binds no usage: without that MAC a wrapped PIN key could be unwrapped as
something else. The master key is made by the token's security officer, trusted, never extractable, and its unwrap template makes
every key under it sensitive and wrappable by trusted keys alone: not even the holder of the user PIN can take one out.
A general token gives clear PIN blocks back to this process, so it is not PCI PIN grade. docs/keys/backends.md lists what a token
cannot do here and why. Refuses to know commands. Read next: token.py, token_objects.py, token_workshop.py, local.py.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from keys import mac
from keys import token_objects as objects
from keys.backend import Backend
from keys.envelope import NONCE_BYTES, DoesNotOpen, Entry, unhex
from keys.errors import KeyRefused, KeystoreError
from keys.keyfile import canonical
from keys.keystore import Keystore
from keys.keytypes import Algorithm
from keys.local import LocalHsm
from keys.master import read_secret_file
from keys.token import Token
from keys.token_rights import COMPANION, NONE, Rights, needed
from keys.token_workshop import DATA, TokenKey, TokenWorkshop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from keys.backend import Place
    from keys.keytypes import KeyInfo
    from keys.token import Object
    from keys.toolbox import Refusal

MASTER, HEADER = "kks-master", "kks-header-mac"
KIND = "token"


class Pkcs11Hsm(LocalHsm[TokenKey]):
    """An open HSM over a token and a keystore file. `set_up_master` and `set_up` make the token's own keys, once."""

    @staticmethod
    def set_up_master(officer: Token, number: int = 1) -> None:
        """Make master key NUMBER, as the security officer. Raises TokenError where it is there."""
        objects.make_master(officer, f"{MASTER}-{number}")

    @staticmethod
    def set_up(user: Token) -> None:
        """Make the token's keys for headers and data, where they lack, as the user."""
        objects.make_own(user, HEADER, DATA)

    @classmethod
    def create(
        cls,
        keystore_path: Path,
        token: Token,
        *,
        master: int = 1,
        today: Callable[[], date] | None = None,
        on_refusal: Callable[[Refusal], None] | None = None,
    ) -> Pkcs11Hsm:
        """An HSM over a new, empty keystore file."""
        store = Keystore.create(keystore_path, TokenEnvelope(token, master))
        return cls(TokenWorkshop(token), store, today=today, on_refusal=on_refusal)

    @classmethod
    def open(
        cls,
        keystore_path: Path,
        token: Token,
        *,
        today: Callable[[], date] | None = None,
        on_refusal: Callable[[Refusal], None] | None = None,
    ) -> Pkcs11Hsm:
        """An HSM over a keystore file. Raises KeystoreError, or TokenError where the token lacks its master key."""
        store = Keystore.open(keystore_path, lambda head: TokenEnvelope.for_head(token, head))
        return cls(TokenWorkshop(token), store, today=today, on_refusal=on_refusal)


def rewrap(keystore_path: Path, token: Token, master: int) -> int:
    """Wrap every key of a keystore anew under master key number MASTER of the token. Returns how many keys there are.

    The file is wholly old or wholly new; the old master key may be destroyed once the keystore has been opened with the new one.
    """
    store = Keystore.open(keystore_path, lambda head: TokenEnvelope.for_head(token, head, rewrappable=True))
    return store.rewrap(TokenEnvelope(token, master))


class TokenEnvelope:
    """AES-KW under a master key of the token, with an AES-CMAC over bound bytes and all that belongs to a key."""

    def __init__(self, token: Token, master: int, *, rewrappable: bool = False) -> None:
        """REWRAPPABLE: keys opened are for sealing anew under another master key, not for use."""
        self._token = token
        self._number, self._master = master, f"{MASTER}-{master}"
        self._rewrappable = rewrappable
        for label in (self._master, HEADER, DATA):
            token.must_find(label)

    @classmethod
    def for_head(cls, token: Token, head: dict[str, Any], *, rewrappable: bool = False) -> TokenEnvelope:
        """The envelope that HEAD names. Raises KeystoreError where it names one of another kind, or another token."""
        if head.get("kind") != KIND or head.get("token") != token.label or type(head.get("master")) is not int:
            raise KeystoreError("it wants another kind of master key, or another token")
        return cls(token, head["master"], rewrappable=rewrappable)

    @property
    def head(self) -> dict[str, Any]:
        """Token and number of the master key."""
        return {"kind": KIND, "token": self._token.label, "master": self._number}

    def seal(self, raw: TokenKey, bound: bytes) -> Entry:
        """Wrapped objects, what else belongs to the key, and the MAC over all of it."""
        entry = {"algorithm": raw.algorithm.value, "bits": str(raw.bits)}
        master = self._token.must_find(self._master)
        if raw.main is not None:
            rsa = raw.algorithm is Algorithm.RSA
            mechanism = objects.KEY_WRAP_PADDED if rsa else objects.KEY_WRAP
            entry["wrapped"] = self._token.wrap(master, raw.main, mechanism).hex()
        if raw.companion is not None:
            entry["companion"] = self._token.wrap(master, raw.companion, objects.KEY_WRAP).hex()
        if raw.public is not None:
            entry["public"] = raw.public.hex()
        if raw.copy is not None:
            entry["copy"] = raw.copy.hex()
        return entry | {"mac": self._code(entry, bound).hex()}

    def open(self, entry: Entry, bound: bytes, info: KeyInfo | None = None) -> TokenKey:
        """The key, with the rights that INFO needs. Its MAC is checked before anything of it reaches the token's unwrap."""
        self._check(entry, bound)
        try:
            algorithm, bits = Algorithm(entry["algorithm"]), int(entry["bits"])
            wrapped, companion, public, copy = (
                unhex(entry[name]) if name in entry else None for name in ("wrapped", "companion", "public", "copy")
            )
            if wrapped is not None and not objects.fits(wrapped, algorithm, bits):
                raise DoesNotOpen("its length is another than is said")  # noqa: TRY301 - told as the others are
            with objects.all_or_none(self._token) as made:
                rights = NONE if info is None else needed(info.usage, info.mode)
                main = None if wrapped is None else self._unwrapped(wrapped, algorithm, rights, made)
                second = None if companion is None else self._unwrapped(companion, Algorithm.TDES, COMPANION, made)
        except (DoesNotOpen, ValueError, KeyError) as error:
            raise DoesNotOpen(f"a wrapped key does not open in the token ({error})") from None
        return TokenKey(algorithm, bits, main, second, public, copy)

    def let_go(self, raw: TokenKey) -> None:
        """Its objects leave the token."""
        self._token.destroy(*raw.objects)

    def rebind(self, entry: Entry, bound: bytes, anew: bytes) -> Entry:
        """The same wrapped key with another MAC."""
        self._check(entry, bound)
        bare = {name: value for name, value in entry.items() if name != "mac"}
        return bare | {"mac": self._code(bare, anew).hex()}

    def check(self, info: KeyInfo, raw: TokenKey) -> None:
        """Length and algorithm; the check value was computed when the key came, and the MAC has bound it since."""
        if raw.bits != info.bits or raw.algorithm is not info.algorithm:
            raise KeyRefused(f"key {info.name}: is not of the length or algorithm of its header")

    def seal_data(self, data: bytes, bound: bytes) -> Entry:
        """Nonce and ciphertext of AES-GCM in the token."""
        nonce = self._token.random(NONCE_BYTES)
        sealed = objects.seal(self._token, self._token.must_find(DATA), nonce, data, bound)
        return {"nonce": nonce.hex(), "sealed": sealed.hex()}

    def open_data(self, entry: Entry, bound: bytes) -> bytes:
        """The data."""
        try:
            nonce, sealed = (unhex(entry[name]) for name in ("nonce", "sealed"))
            if len(entry) == len(("nonce", "sealed")):
                return objects.unseal(self._token, self._token.must_find(DATA), nonce, sealed, bound)
        except (DoesNotOpen, ValueError, TypeError, KeyError, AttributeError):
            pass  # below: they are all one
        raise DoesNotOpen("an entry was changed, or is of another token")

    def _unwrapped(self, wrapped: bytes, algorithm: Algorithm, rights: Rights, made: list[Object]) -> Object:
        master = self._token.must_find(self._master)
        if self._rewrappable:
            made.append(objects.unwrap_to_rewrap(self._token, master, wrapped, algorithm))
        else:
            made.append(objects.unwrap(self._token, master, wrapped, algorithm, rights))
        return made[-1]

    def _check(self, entry: Entry, bound: bytes) -> None:
        try:
            bare = {name: value for name, value in entry.items() if name != "mac"}
            right = mac.same(self._code(bare, bound), unhex(entry["mac"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            right = False
        if not right:
            raise DoesNotOpen("an entry was changed, or is of another token")

    def _code(self, entry: Entry, bound: bytes) -> bytes:
        body = canonical(entry)
        return self._token.sign(self._token.must_find(HEADER), len(bound).to_bytes(4) + bound + body, objects.AES_CMAC)


class Pkcs11Backend(Backend):
    """This back end, as the bank finds it: a token that a module knows by its label, and the keystore file."""

    options: Mapping[str, str] = MappingProxyType(
        {
            "module": "the token's PKCS#11 library",
            "token": "label of the token",
            "pin_file": "file (mode 0600) of the token's user PIN",
        }
    )

    def create(
        self, place: Place, today: Callable[[], date], on_refusal: Callable[[Refusal], None] | None = None
    ) -> Pkcs11Hsm:
        """Over a new keystore, under master key 1 of the token, which its officer has made."""
        return Pkcs11Hsm.create(place.keystore, _token(place), today=today, on_refusal=on_refusal)

    def open(
        self, place: Place, today: Callable[[], date], on_refusal: Callable[[Refusal], None] | None = None
    ) -> Pkcs11Hsm:
        """Over a keystore that is there."""
        return Pkcs11Hsm.open(place.keystore, _token(place), today=today, on_refusal=on_refusal)

    def set_up(self, place: Place, officer_pin_file: Path, number: int) -> None:
        """The token's own keys as its user, then the master key as the officer: once that is made, nothing is left to fail.

        Where the own keys lacked and the master key is there, it is left as it is: somebody was cut off before they were made.
        """
        pin = read_secret_file(officer_pin_file, "officer PIN file")
        with closing(_token(place)) as user:
            lacked = user.find(HEADER) is None or user.find(DATA) is None
            Pkcs11Hsm.set_up(user)
        officer = Token(Path(place.options["module"]), place.options["token"], pin, officer=True)
        with closing(officer):
            if not lacked or officer.find(f"{MASTER}-{number}") is None:
                Pkcs11Hsm.set_up_master(officer, number)

    def rotate_master(self, place: Place, number: int | None = None) -> int:
        """Under master key NUMBER, which the officer has made before."""
        if number is None:
            raise KeystoreError(
                "a token's keystore goes under master key --number N, which its security officer has made"
            )
        with closing(_token(place)) as user:
            return rewrap(place.keystore, user, number)


def _token(place: Place) -> Token:
    """The token of the keystore, as its user. Its PIN is read again where it must be logged in anew."""
    pin_file = Path(place.options["pin_file"])
    return Token(
        Path(place.options["module"]), place.options["token"], lambda: read_secret_file(pin_file, "token PIN file")
    )


BACKEND = Pkcs11Backend()

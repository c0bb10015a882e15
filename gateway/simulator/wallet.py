"""The families' test cards with their PINs, and the test key of the PIN pads: what a simulated terminal needs to know.

Only invented cards ever stand here: a real family's PIN is known to nobody. The file is readable by its owner alone. Knows no
balance and no bank. Read next: pinpad.py, terminal.py.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar

from gateway.simulator.errors import WalletError
from keys.errors import KeysError
from keys.luhn import check_digit
from keys.sensitive import Pan, Pin

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FILE_NAME = "wallet.json"
ZPK_LABEL = "zpk-himbara"
_VERSION = 1
_MODE = 0o600
_COMPONENT_BYTES = (16, 24)
_FEWEST_COMPONENTS = 2
_MODEL = "6013010000000018"
_STRANGER_PIN = Pin("271828")
_STRANGER_EXPIRES = date(2031, 12, 31)


@dataclass(frozen=True, slots=True, repr=False)
class TestCard:
    """A card in a family's hand. `expires`: any day of the month printed on it. `name`: as embossed."""

    __test__: ClassVar[bool] = False  # not a test class, whatever its name begins with

    pan: Pan
    pin: Pin
    expires: date
    account_number: str
    name: str

    def __repr__(self) -> str:
        return f"TestCard({self.pan.masked})"


@dataclass(frozen=True, slots=True)
class Wallet:
    """Test cards, and the label and clear components (16 or 24 bytes each, XORed) of the zone PIN key of their terminals.

    Without components the terminals need a keystore of their own that holds the label.
    """

    cards: tuple[TestCard, ...]
    zpk_label: str = ZPK_LABEL
    zpk_components: tuple[bytes, ...] = field(default=(), repr=False)

    def save(self, path: Path) -> None:
        """Write the file, mode 0600, whole or not at all. Raises WalletError."""
        content = {
            "version": _VERSION,
            "zpk_label": self.zpk_label,
            "zpk_components": [component.hex().upper() for component in self.zpk_components],
            "cards": [_card_to_json(card) for card in self.cards],
        }
        new = path.with_name(path.name + ".new")
        try:
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE), "w", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except OSError as error:
            raise WalletError(f"wallet {path}: {error.strerror}") from None


def load_wallet(path: Path) -> Wallet:
    """Read a wallet file. Raises WalletError: one line naming the file, and the card by its place, never by its number."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WalletError(f"wallet {path}: {error.strerror}; `kks demo` makes one") from None
    except ValueError:
        raise WalletError(f"wallet {path}: is not JSON") from None
    if not isinstance(content, dict) or content.get("version") != _VERSION:
        raise WalletError(f"wallet {path}: is not a wallet of version {_VERSION}")
    cards = content.get("cards")
    if not isinstance(cards, list):
        raise WalletError(f"wallet {path}: holds no list of cards")
    return Wallet(
        tuple(_card_from_json(path, number, parts) for number, parts in enumerate(cards, 1)),
        str(content.get("zpk_label", ZPK_LABEL)),
        _components(path, content.get("zpk_components", [])),
    )


def strangers(known: Sequence[TestCard], rng: random.Random) -> Iterator[TestCard]:
    """Cards with the BIN of the known ones that were never issued, without end."""
    issued = {card.pan.reveal() for card in known}
    model = known[0].pan.reveal() if known else _MODEL
    while True:
        body = model[:6] + "".join(rng.choices("0123456789", k=len(model) - 7))
        number = body + check_digit(body)
        if number not in issued:
            yield TestCard(Pan(number), _STRANGER_PIN, _STRANGER_EXPIRES, "", "STRANGER")


def _card_to_json(card: TestCard) -> dict[str, str]:
    return {
        "pan": card.pan.reveal(),
        "pin": card.pin.reveal(),
        "expires": card.expires.isoformat(),
        "account_number": card.account_number,
        "name": card.name,
    }


def _card_from_json(path: Path, number: int, parts: Any) -> TestCard:  # noqa: ANN401 - whatever stands in the file
    try:
        return TestCard(
            Pan(parts["pan"], luhn=True),
            Pin(parts["pin"]),
            date.fromisoformat(parts["expires"]),
            str(parts["account_number"]),
            str(parts["name"]),
        )
    except KeyError as error:
        raise WalletError(f"wallet {path}: card {number}: {error.args[0]} is missing") from None
    except KeysError as error:
        raise WalletError(f"wallet {path}: card {number}: {error}") from None
    except (ValueError, TypeError, AttributeError):
        raise WalletError(f"wallet {path}: card {number}: is not as `kks demo` writes it") from None


def _components(path: Path, texts: Any) -> tuple[bytes, ...]:  # noqa: ANN401 - whatever stands in the file
    try:
        components = tuple(bytes.fromhex(text) for text in texts)
    except (ValueError, TypeError):
        raise WalletError(f"wallet {path}: a key component is not hexadecimal") from None
    lengths = {len(component) for component in components}
    if components and (len(components) < _FEWEST_COMPONENTS or len(lengths) > 1 or not lengths <= {*_COMPONENT_BYTES}):
        raise WalletError(f"wallet {path}: the PIN key needs two or more components of 16 or 24 bytes")
    return components

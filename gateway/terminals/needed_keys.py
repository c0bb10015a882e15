"""Whether the keystore has the keys a link's profile names, each for what the link needs it for.

Asked when a link is opened and when its profile changes. Refuses to know what a key does (keys/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.operations.custody import reads_pins
from keys.keytypes import KeyUsage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.terminals.profile import Link
    from keys.hsm import Hsm

MACS = frozenset({KeyUsage.MAC_CBC, KeyUsage.MAC_RETAIL, KeyUsage.MAC_CMAC})


def lacking(link: Link, hsm: Hsm) -> str | None:
    """Which key the link lacks or has of a wrong usage, in one line; None: it has all it names."""
    for label, usages, purpose in _wanted(link, hsm):
        versions = hsm.versions(label)
        if not versions:
            return f"link {link.name} wants the key {label}, which the keystore lacks: `kks keys component`"
        if not any(hsm.info(key).usage in usages for key in versions):
            names = " or ".join(sorted(usage.value for usage in usages))
            return f"link {link.name} wants a key that {purpose}, and no version of {label} does: its usage is {names}"
    if link.pin_scheme == "zpk" and not any(reads_pins(hsm, key) for key in hsm.versions(link.pin_key)):
        return (
            f"link {link.name} wants a key that reads PIN blocks, and no version of {link.pin_key} does: "
            "its usage is P0, its mode D or B"
        )
    return None


def _wanted(link: Link, hsm: Hsm) -> Iterator[tuple[str, frozenset[KeyUsage], str]]:
    """Label, usages one of which it must have, and what for. The first MAC key may come over the link itself."""
    if link.pin_scheme == "zpk":
        yield link.pin_key, frozenset(KeyUsage), "reads PIN blocks"
    else:
        yield link.pin_key, frozenset({KeyUsage.BASE_DERIVATION}), "derives the keys of terminals"
    comes = link.zone_master_key is not None and link.mac_key is not None and not hsm.versions(link.mac_key)
    if link.mac != "off" and link.mac_key is not None and not comes:
        yield link.mac_key, MACS, "makes MACs"
    if link.chip != "off":
        yield link.chip_key, frozenset({KeyUsage.ISSUER_CRYPTOGRAM}), "verifies cryptograms"
    if link.chip_scripts:
        yield link.chip_script_key, frozenset({KeyUsage.ISSUER_SCRIPT_MAC}), "makes the MACs of scripts"
    if link.stripe_value != "off":
        yield link.stripe_key, frozenset({KeyUsage.CARD_VERIFICATION}), "verifies the values of stripes"
    if link.zone_master_key is not None:
        yield link.zone_master_key, frozenset({KeyUsage.KEY_BLOCK_PROTECTION}), "opens key blocks"

"""Tests of gateway.cli.keystore: `kks keys`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.gateway.cli.shell import Shell

ONE, TWO = "0123456789ABCDEFFEDCBA9876543210", "A1B2C3D4E5F60718293A4B5C6D7E8F90"


def test_keys_are_formed_from_components(shell: Shell) -> None:
    """Two custodians' components make a key; neither is ever shown; the label is then taken."""
    code, out, err = shell.run("keys", "form", "zpk-himbara", typed=f"{ONE}\n{TWO}\n")
    assert (0, "") == (code, err)
    assert "Key zpk-himbara is formed, check value " in out
    found = {one["label"]: one for one in shell.json("keys", "list")["keys"]}
    assert {"audit", "pin-verification", "vault-sealing", "vault-index", "zpk-himbara"} == set(found)
    assert {"label", "usage", "code", "state", "kcv"} == set(found["zpk-himbara"])
    shown = shell.text("keys", "list") + out
    assert [] == [part for part in (ONE, TWO) if part in shown]
    assert "zpk-himbara" in shell.refused("keys", "form", "zpk-himbara", typed=f"{ONE}\n{TWO}\n")


def test_components_that_make_no_key(shell: Shell) -> None:
    """Not hex, equal, too short, or too few: refused in a line that holds none of them."""
    assert "component 2: is not hex" == shell.refused("keys", "form", "zpk", typed=f"{ONE}\nhello\n")
    for first, second in ((ONE, ONE), (ONE, ONE[:16]), ("00", "11")):
        line = shell.refused("keys", "form", "zpk", typed=f"{first}\n{second}\n")
        assert first not in line
    shell.usage("keys", "form", "zpk", "--components", "1")
    assert "zpk" not in [one["label"] for one in shell.json("keys", "list")["keys"]]

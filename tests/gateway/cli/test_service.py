"""Tests of gateway.cli.service: `kks serve` that cannot start. Running and stopping: tests/gateway/test_two_services.py."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from tests.gateway.cli.shell import Shell


def test_a_link_without_its_key(shell: Shell) -> None:
    """A database that others run gets no test key by itself: one line says how to form the link's key."""
    assert "zpk-himbara" in (line := shell.refused("serve"))
    assert "kks keys component" in line


def test_a_port_in_use(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line names the port."""
    for number, custodian, part in (
        ("1", "siti", "0123456789ABCDEFFEDCBA9876543210"),
        ("2", "budi", "A1B2C3D4E5F60718293A4B5C6D7E8F90"),
    ):
        asked = ("keys", "component", "zpk-himbara", "--usage", "P0", "--number", number, "--as", custodian)
        assert 0 == shell.run(*asked, typed=part + "\n")[0]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        monkeypatch.setenv("KKS_ISO_PORT", port)
        assert f"port {port}" in shell.refused("serve")


def test_settings_that_changed_after_setup(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bank keeps its name, BIN and lanes; another setting is one line."""
    shell.text("day", "show")
    for name, value in (("KKS_BANK", "BNI"), ("KKS_CARD_BIN", "601302"), ("KKS_LANES", "3")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert name in shell.refused("serve")

"""Tests of gateway.errors."""

from __future__ import annotations

import pytest

from gateway.errors import DatabaseUnavailable, GatewayError, NotFound, Refused, SettingsError


@pytest.mark.parametrize("error", [Refused, NotFound, SettingsError, DatabaseUnavailable])
def test_every_failure_for_a_user_has_one_root(error: type[GatewayError]) -> None:
    """Who shows errors to people catches one class, and the line is the message."""
    assert issubclass(error, GatewayError)
    assert "one line" == str(error("one line"))


def test_not_found_is_a_refusal_and_an_outage_is_none() -> None:
    """What can be mended by the command, and what cannot, are apart."""
    assert issubclass(NotFound, Refused)
    assert not issubclass(DatabaseUnavailable, Refused)
    assert not issubclass(SettingsError, Refused)

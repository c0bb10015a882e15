"""Tests of gateway.clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING

from gateway import clock

if TYPE_CHECKING:
    import pytest


def test_moments_are_aware_and_in_utc() -> None:
    """Now is now, in UTC."""
    before = datetime.now(UTC)
    assert before <= clock.now() <= datetime.now(UTC)
    assert timedelta(0) == clock.now().utcoffset()


def test_the_day_changes_at_jakartas_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    """17:00 UTC is the next day in Jakarta, and a second earlier is not."""

    class Frozen(datetime):
        moment = datetime(2026, 11, 23, 16, 59, 59, tzinfo=UTC)

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return cls.moment.astimezone(tz)

    monkeypatch.setattr(clock, "datetime", Frozen)
    assert "2026-11-23" == str(clock.jakarta_today())
    Frozen.moment += timedelta(seconds=1)
    assert "2026-11-24" == str(clock.jakarta_today())

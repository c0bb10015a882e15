"""Fixtures of the ledger's tests: the owner of the database, whom only triggers stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def superuser(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on the test's database as its superuser, not as the service's role."""
    engine = create_async_engine(make_url(database_url).set(drivername="postgresql+asyncpg"))
    yield engine
    await engine.dispose()

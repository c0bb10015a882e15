"""Terminals counted by link; how far a link's hot list is filled; ended messages of partners and to them are removed in time."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run sql/0011_link_life.sql inside the migration's transaction."""
    script = (Path(__file__).parent.parent / "sql" / "0011_link_life.sql").read_text(encoding="utf-8")
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None  # noqa: S101 - alembic's connection is open
    driver.run_async(lambda connection: connection.execute(script))


def downgrade() -> None:
    """What was told to whom is never dropped by a command."""
    raise NotImplementedError

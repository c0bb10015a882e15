"""Monthly partitions, limits, holds, closed days, settlement, and the purse's invariant."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

PARTS = ("partitions", "invariant", "limits", "days", "settlement", "lists", "retention", "privileges")


def upgrade() -> None:
    """Run each part of sql/0002_*.sql in order, inside the migration's transaction."""
    folder = Path(__file__).parent.parent / "sql"
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None  # noqa: S101 - alembic's connection is open
    for part in PARTS:
        script = (folder / f"0002_{part}.sql").read_text(encoding="utf-8")
        driver.run_async(lambda connection, text=script: connection.execute(text))


def downgrade() -> None:
    """Money tables are never dropped by a command."""
    raise NotImplementedError

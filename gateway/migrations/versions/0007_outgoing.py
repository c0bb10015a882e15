"""Messages we send of our own accord, and partners' file actions, totals and administrative messages."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run sql/0007_outgoing.sql inside the migration's transaction."""
    script = (Path(__file__).parent.parent / "sql" / "0007_outgoing.sql").read_text(encoding="utf-8")
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None  # noqa: S101 - alembic's connection is open
    driver.run_async(lambda connection: connection.execute(script))


def downgrade() -> None:
    """What partners were told and told us is never dropped by a command."""
    raise NotImplementedError

"""What of a partner's messages people must look at."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run sql/0005_*.sql inside the migration's transaction."""
    driver = op.get_bind().connection.dbapi_connection
    assert driver is not None  # noqa: S101 - alembic's connection is open
    script = (Path(__file__).parent.parent / "sql" / "0005_link_exceptions.sql").read_text(encoding="utf-8")
    driver.run_async(lambda connection: connection.execute(script))


def downgrade() -> None:
    """What people decided is never dropped by a command."""
    raise NotImplementedError

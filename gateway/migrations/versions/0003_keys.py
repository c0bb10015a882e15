"""Finding what was done with keys among all audit events."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """An index over the few events of key ceremonies."""
    op.execute(
        "CREATE INDEX audit_event_key ON audit_event (seq) WHERE stream = 'operations' AND operation LIKE 'key.%'"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP INDEX audit_event_key")

"""Each card keeps under which version of the PIN verification key its offset was made."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Until now the key had one version for good. A default is the way to say so of existing rows without writing them anew; it goes
# at once, because a later offset has to name its version.
STATEMENTS = (
    "ALTER TABLE card ADD COLUMN pin_key_version smallint DEFAULT 1",
    "ALTER TABLE card ALTER COLUMN pin_key_version DROP DEFAULT",
    "UPDATE card SET pin_key_version = NULL WHERE pin_offset IS NULL",
    """ALTER TABLE card ADD CONSTRAINT card_pin_key
       CHECK ((pin_offset IS NULL) = (pin_key_version IS NULL) AND pin_key_version > 0)""",
)


def upgrade() -> None:
    """The column; whatever offset there is, is of version 1."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Which key a PIN hangs on is never forgotten by a command."""
    raise NotImplementedError

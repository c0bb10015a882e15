"""Versions of links' keys that partners bring over their links: pending, used, over."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# block_digest: SHA-256 of the key block, so that one that comes again is known; NULL where no key came of it. A turn is over when
# the older versions have ended, or when the version was dropped unused.
STATEMENTS = (
    """CREATE TABLE link_key (
       label text NOT NULL,
       version integer NOT NULL CHECK (version > 0),
       link text NOT NULL,
       block_digest bytea CHECK (octet_length(block_digest) = 32),
       came_at timestamptz NOT NULL,
       overlap_s integer NOT NULL CHECK (overlap_s >= 0),
       pending_s integer NOT NULL CHECK (pending_s > 0),
       used_at timestamptz,
       over_at timestamptz,
       PRIMARY KEY (label, version)
    )""",
    "CREATE INDEX link_key_block ON link_key (block_digest)",
    "CREATE INDEX link_key_turn ON link_key (label, version) WHERE over_at IS NULL",
    """DO $$
    BEGIN
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kks_app' AND pg_has_role(current_user, oid, 'MEMBER')) THEN
            GRANT SELECT, INSERT, UPDATE ON link_key TO kks_app;
        END IF;
    END $$""",
)


def upgrade() -> None:
    """The table."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Which block came before is never forgotten by a command."""
    raise NotImplementedError

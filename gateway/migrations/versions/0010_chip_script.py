"""What chips were told to do (issuer scripts): how often, and what became of it."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE chip_script (
           cell       smallint NOT NULL,
           account_id bigint NOT NULL,
           card_id    bigint NOT NULL,
           script     text NOT NULL CHECK (script IN ('BLOCK_APPLICATION', 'BLOCK_CARD', 'UNBLOCK_PIN')),
           wanted_at  timestamptz NOT NULL,
           sent       integer NOT NULL DEFAULT 0 CHECK (sent >= 0),  -- since it was wanted
           sent_at    timestamptz,
           sent_atc   integer CHECK (sent_atc BETWEEN 0 AND 65535),  -- of the transaction it last went out with
           result     text CHECK (result IN ('TAKEN', 'FAILED', 'NOT_DONE')),
           told_at    timestamptz,
           PRIMARY KEY (cell, account_id, card_id, script)
       ) WITH (fillfactor = 80)""",
    """DO $$
       BEGIN
           IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kks_app' AND pg_has_role(current_user, oid, 'MEMBER')) THEN
               GRANT SELECT, INSERT, UPDATE ON chip_script TO kks_app;
           END IF;
       END $$""",
)


def upgrade() -> None:
    """The table."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Which card was told to stop is never forgotten by a command."""
    raise NotImplementedError

"""Counters that go up and never back: the last transaction of each chip, the last key of each DUKPT terminal."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE card ADD COLUMN last_atc int CHECK (last_atc BETWEEN 0 AND 65535)",
    "ALTER TABLE card ADD COLUMN atc_open boolean NOT NULL DEFAULT false",  # the next may be ahead of it by any number
    """CREATE TABLE device_counter (
           base_key text NOT NULL,                 -- label#version of the base derivation key
           device   text NOT NULL,                 -- initial KSN or initial key id, hex
           counter  bigint NOT NULL CHECK (counter > 0),
           before   bigint NOT NULL DEFAULT 0,     -- what the newest message found (gateway.store.card_counters)
           PRIMARY KEY (base_key, device)
       ) WITH (fillfactor = 80)""",
    """DO $$
       BEGIN
           IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kks_app' AND pg_has_role(current_user, oid, 'MEMBER')) THEN
               GRANT SELECT, INSERT, UPDATE ON device_counter TO kks_app;
           END IF;
       END $$""",
)


def upgrade() -> None:
    """The column and the table."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """A counter that is forgotten lets everything be replayed."""
    raise NotImplementedError

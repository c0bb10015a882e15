-- Reference data: what the programmes pay, from which purse it may be spent where, and which clocks run.
-- Every row has a period; a change is a new row with a later valid_from, never an edit (docs/architecture.md, Policy).

CREATE TABLE bank (
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    name            text NOT NULL,
    card_bin        text NOT NULL CHECK (card_bin ~ '^\d{6}$'),
    cells           smallint NOT NULL CHECK (cells BETWEEN 1 AND 256),
    lanes           smallint NOT NULL CHECK (lanes BETWEEN 1 AND 16),
    business_date   date,                      -- NULL: today in Jakarta; set only on a bank whose date is moved by hand
    created_at      timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE programme (
    number          smallint PRIMARY KEY CHECK (number BETWEEN 1 AND 999),
    code            text NOT NULL UNIQUE CHECK (code ~ '^[A-Z0-9_]{2,20}$'),
    name            text NOT NULL,
    purse           text NOT NULL CHECK (purse IN ('CASH', 'FOOD')),
    components      text[] NOT NULL DEFAULT '{}',   -- component codes a list row may name; empty: takes none
    valid_from      date NOT NULL,
    valid_to        date CHECK (valid_to >= valid_from)
);

CREATE TABLE amount_rate (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    programme       smallint NOT NULL REFERENCES programme,
    component       text,                       -- NULL: the programme pays every family the same
    per             text NOT NULL CHECK (per IN ('STAGE', 'MONTH')),
    amount_idr      bigint NOT NULL CHECK (amount_idr > 0),
    valid_from      date NOT NULL,
    valid_to        date CHECK (valid_to >= valid_from)
);

CREATE TABLE purse_rule (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    programme       smallint NOT NULL REFERENCES programme,
    channel         text NOT NULL CHECK (channel IN ('ATM', 'AGENT', 'EWARONG')),
    mcc             text NOT NULL CHECK (mcc ~ '^(\*|\d{4})$'),
    priority        smallint NOT NULL DEFAULT 1, -- lower is drawn first
    valid_from      date NOT NULL,
    valid_to        date CHECK (valid_to >= valid_from)
);

CREATE TABLE clock_policy (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    programme       smallint REFERENCES programme,   -- NULL: every programme
    region_prefix   text NOT NULL DEFAULT '' CHECK (region_prefix ~ '^\d{0,10}$'),
    warn_days       int[] NOT NULL,
    block_days      int CHECK (block_days > 0),      -- NULL: never blocked
    return_days     int CHECK (return_days > 0),     -- frozen and sent to RPL after this many days; NULL: never
    partly_used     boolean NOT NULL DEFAULT false,  -- true: the clock also runs on what is left of a used tranche
    reason          text NOT NULL,
    valid_from      date NOT NULL,
    valid_to        date CHECK (valid_to >= valid_from)
);

CREATE TABLE exclusion (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    nik_index       bytea NOT NULL,
    reason          text NOT NULL,
    valid_from      date NOT NULL,
    valid_to        date,
    listed_by       text NOT NULL,
    listed_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX exclusion_nik ON exclusion (nik_index);

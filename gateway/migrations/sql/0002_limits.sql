-- Spending limits: effective-dated rules, and what each terminal has paid out, kept where a rule counts by terminal. What a card
-- has spent is added up from its own authorisations.

CREATE TABLE limit_rule (
    id              int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL CHECK (name ~ '^[a-z0-9-]{2,40}$'),  -- of one name the newest row in force counts
    per             text NOT NULL CHECK (per IN ('CARD', 'TERMINAL')),
    period          text NOT NULL CHECK (period IN ('TRANSACTION', 'DAY', 'MONTH')),
    channels        text[] CHECK (channels <@ ARRAY['ATM', 'AGENT', 'EWARONG'] AND channels <> '{}'),  -- together; NULL: every one
    programme       smallint REFERENCES programme,                        -- NULL: every programme together
    terminal        text,                            -- acquirer:terminal; NULL: each terminal (or every one together, per CARD)
    max_amount_idr  bigint CHECK (max_amount_idr >= 0),               -- both maxima NULL: the limit of this name is lifted
    max_count       int CHECK (max_count >= 0),
    reason          text NOT NULL,
    valid_from      date NOT NULL,
    valid_to        date CHECK (valid_to >= valid_from),
    CHECK (period <> 'TRANSACTION' OR max_count IS NULL),
    CHECK (per = 'CARD' OR programme IS NULL),
    UNIQUE (name, valid_from)
);

CREATE TABLE terminal_use (
    terminal        text NOT NULL,                   -- acquirer:terminal
    business_date   date NOT NULL,
    count           int NOT NULL DEFAULT 0 CHECK (count >= 0),
    amount_idr      bigint NOT NULL DEFAULT 0 CHECK (amount_idr >= 0),
    PRIMARY KEY (terminal, business_date)
) WITH (fillfactor = 50);

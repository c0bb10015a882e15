-- Spending limits: effective-dated rules, and what each terminal has paid out, kept where a rule counts by terminal. What a card
-- has spent is added up from its own authorisations.

CREATE TABLE limit_rule (
    id              int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    per             text NOT NULL CHECK (per IN ('CARD', 'TERMINAL')),
    period          text NOT NULL CHECK (period IN ('TRANSACTION', 'DAY', 'MONTH')),
    channel         text CHECK (channel IN ('ATM', 'AGENT', 'EWARONG')),  -- NULL: every channel together
    programme       smallint REFERENCES programme,                        -- NULL: every programme together
    terminal        text,                            -- acquirer:terminal; NULL: each terminal (or every one together, per CARD)
    max_amount_idr  bigint CHECK (max_amount_idr >= 0),
    max_count       int CHECK (max_count >= 0),
    reason          text NOT NULL,
    valid_from      date NOT NULL,
    valid_to        date CHECK (valid_to >= valid_from),
    CHECK (max_amount_idr IS NOT NULL OR max_count IS NOT NULL),
    CHECK (period <> 'TRANSACTION' OR max_count IS NULL),
    CHECK (per = 'CARD' OR programme IS NULL)
);

CREATE TABLE terminal_use (
    terminal        text NOT NULL,                   -- acquirer:terminal
    business_date   date NOT NULL,
    count           int NOT NULL DEFAULT 0 CHECK (count >= 0),
    amount_idr      bigint NOT NULL DEFAULT 0 CHECK (amount_idr >= 0),
    PRIMARY KEY (terminal, business_date)
) WITH (fillfactor = 50);

-- Who did what: audit events chained by hash and HMAC (one chain a stream), jobs, notices and treasury returns.

CREATE TABLE audit_chain (
    stream          text PRIMARY KEY,
    last_seq        bigint NOT NULL,
    last_hash       bytea NOT NULL
);

CREATE TABLE audit_event (
    stream          text NOT NULL,
    seq             bigint NOT NULL,
    at              timestamptz NOT NULL,
    actor           text NOT NULL,
    operation       text NOT NULL,              -- gateway.store.audit.Operation
    subject         text NOT NULL,
    detail          text NOT NULL,              -- JSON, exactly as hashed
    hash            bytea NOT NULL,             -- HMAC over the hash before and all columns above
    PRIMARY KEY (stream, seq)
);

CREATE TABLE job_run (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job             text NOT NULL,
    business_date   date NOT NULL,
    state           text NOT NULL CHECK (state IN ('RUNNING', 'DONE', 'FAILED')),
    started_at      timestamptz NOT NULL DEFAULT now(),
    ended_at        timestamptz,
    summary         jsonb NOT NULL DEFAULT '{}',
    error           text,
    UNIQUE (job, business_date)
);

CREATE TABLE dormancy_notice (
    cell            smallint NOT NULL,
    account_id      bigint NOT NULL,
    tranche_id      bigint NOT NULL,
    days            int NOT NULL,
    notice          text NOT NULL CHECK (notice IN ('WARN', 'BLOCK', 'FREEZE', 'RETURN', 'UNBLOCK')),
    business_date   date NOT NULL,
    amount_idr      bigint NOT NULL,
    PRIMARY KEY (cell, account_id, tranche_id, notice, days, business_date)
);

CREATE TABLE treasury_return (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    programme       smallint NOT NULL REFERENCES programme,
    sp2d_no         text NOT NULL,
    amount_idr      bigint NOT NULL CHECK (amount_idr > 0),
    tranches        int NOT NULL,
    rpl_date        date NOT NULL,
    rpl_evidence    text NOT NULL UNIQUE,       -- number of the debit to RPL
    state           text NOT NULL CHECK (state IN ('AT_RPL', 'RETURNED')),
    returned_on     date,
    deposit_evidence text UNIQUE,               -- number of the bank's deposit to kas negara
    ntpn            text UNIQUE,                -- the treasury's receipt for it
    CHECK ((state = 'RETURNED') = (deposit_evidence IS NOT NULL AND returned_on IS NOT NULL)),
    CHECK (ntpn IS NULL OR state = 'RETURNED')
);
ALTER TABLE tranche ADD COLUMN return_id bigint REFERENCES treasury_return;
CREATE INDEX tranche_return ON tranche (return_id) WHERE return_id IS NOT NULL;

-- Money. A transfer is one row and is never changed. Purses and tranches are what transfers add up to, kept for speed and
-- checked by `kks ledger proof`.

CREATE SEQUENCE transfer_id_seq;
CREATE SEQUENCE tranche_id_seq;
CREATE SEQUENCE authorisation_id_seq;

CREATE TABLE transfer (
    cell            smallint NOT NULL,
    account_id      bigint NOT NULL,            -- the family's account; 0 between control accounts
    id              bigint NOT NULL,
    debit           bigint NOT NULL,            -- ledger.chart
    credit          bigint NOT NULL,
    amount_idr      bigint NOT NULL CHECK (amount_idr > 0),
    kind            text NOT NULL,              -- ledger.posting.Kind
    source          text NOT NULL,              -- what caused it: authorisation, si, si_row, job_run ...
    source_id       bigint NOT NULL,
    tranche_id      bigint,
    corrects        bigint,                     -- the transfer this one takes back
    business_date   date NOT NULL,
    posted_at       timestamptz NOT NULL DEFAULT now(),
    CHECK (debit <> credit),
    PRIMARY KEY (cell, account_id, id)
);

CREATE TABLE purse (
    cell            smallint NOT NULL,
    account_id      bigint NOT NULL,
    programme       smallint NOT NULL,
    available_idr   bigint NOT NULL DEFAULT 0 CHECK (available_idr >= 0),
    held_idr        bigint NOT NULL DEFAULT 0 CHECK (held_idr >= 0),
    frozen_idr      bigint NOT NULL DEFAULT 0 CHECK (frozen_idr >= 0),
    PRIMARY KEY (cell, account_id, programme)
) WITH (fillfactor = 70);

CREATE TABLE tranche (
    cell            smallint NOT NULL,
    account_id      bigint NOT NULL,
    id              bigint NOT NULL,
    programme       smallint NOT NULL,
    stage           text NOT NULL,
    months          text[] NOT NULL,
    si_id           bigint NOT NULL,
    si_line         int NOT NULL,
    sp2d_no         text NOT NULL,
    region          text NOT NULL,
    credited_on     date NOT NULL,
    clock_from      date NOT NULL,              -- the dormancy clock counts from here: credited_on, or the day of unblocking
    amount_idr      bigint NOT NULL CHECK (amount_idr > 0),
    available_idr   bigint NOT NULL CHECK (available_idr >= 0),
    held_idr        bigint NOT NULL DEFAULT 0 CHECK (held_idr >= 0),
    frozen_idr      bigint NOT NULL DEFAULT 0 CHECK (frozen_idr >= 0),
    returned_idr    bigint NOT NULL DEFAULT 0 CHECK (returned_idr >= 0),  -- moved out of the family's purse to RPL
    state           text NOT NULL,              -- gateway.rules.dormancy
    used_on         date,                       -- first debit; it stops the clock
    blocked_on      date,
    frozen_on       date,
    rpl_on          date,
    returned_on     date,
    PRIMARY KEY (cell, account_id, id),
    CHECK (available_idr + held_idr + frozen_idr + returned_idr <= amount_idr)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX tranche_once ON tranche (cell, account_id, programme, stage);
CREATE INDEX tranche_clock ON tranche (clock_from, id) WHERE state IN ('OPEN', 'BLOCKED', 'FROZEN');

CREATE TABLE control_checkpoint (
    account         bigint NOT NULL,
    business_date   date NOT NULL,
    balance_idr     bigint NOT NULL,
    PRIMARY KEY (account, business_date)
);

CREATE TABLE sp2d (
    no              text PRIMARY KEY,
    sp2d_date       date NOT NULL,
    amount_idr      bigint NOT NULL CHECK (amount_idr > 0)
);

CREATE TABLE si (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    si_no           text NOT NULL,
    sp2d_no         text NOT NULL REFERENCES sp2d,
    sp2d_count      int,
    file_name       text NOT NULL,
    file_sha256     text NOT NULL,
    header          text[] NOT NULL,
    rows            int NOT NULL DEFAULT 0,
    amount_idr      bigint NOT NULL DEFAULT 0,
    state           text NOT NULL,              -- gateway.rules.instruction
    maker           text NOT NULL,
    checker         text CHECK (checker <> maker),
    reason          text,
    business_date   date NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    decided_at      timestamptz
);

-- An SI that disagreed with its SP2D, or was rejected, is kept; its number, SP2D and file may be used again for the right one.
CREATE UNIQUE INDEX si_number ON si (si_no) WHERE state NOT IN ('MISMATCH', 'REJECTED');
CREATE UNIQUE INDEX si_sp2d ON si (sp2d_no) WHERE state NOT IN ('MISMATCH', 'REJECTED');
CREATE UNIQUE INDEX si_file ON si (file_sha256) WHERE state NOT IN ('MISMATCH', 'REJECTED');

CREATE TABLE si_row (
    si_id           bigint NOT NULL REFERENCES si,
    line            int NOT NULL,
    record          bytea NOT NULL,             -- the row as it stood in the file, sealed
    nik_index       bytea,
    account_number  text,
    holder_name     text,
    programme       text,
    stage           text,
    months          text[],
    amount_idr      bigint,
    state           text NOT NULL,              -- WAITING, TOPUP_SUKSES, TOPUP_GAGAL
    reason          text,
    tranche_id      bigint,
    PRIMARY KEY (si_id, line)
) WITH (fillfactor = 80);

CREATE TABLE authorisation (
    cell            smallint NOT NULL,
    id              bigint NOT NULL,
    account_id      bigint NOT NULL,            -- 0: the card is unknown
    card_id         bigint,
    link            text NOT NULL,
    kind            text NOT NULL,              -- gateway.rules.authorise.RequestKind
    message_key     bytea NOT NULL,             -- link, message class, card, STAN, DE7, acquirer: one answer each
    content_digest  bytea NOT NULL,
    original_key    bytea,                      -- a reversal names its original
    mti             text NOT NULL,
    channel         text NOT NULL,
    mcc             text,
    terminal        text NOT NULL,
    merchant        text,
    acquirer        text NOT NULL,
    stan            text NOT NULL,
    transmitted     text NOT NULL,              -- DE7, MMDDhhmmss
    rrn             text,
    amount_idr      bigint NOT NULL,
    reason          text NOT NULL,              -- APPROVED or gateway.rules.authorise.DeclineReason
    response_code   text NOT NULL,              -- DE39 as sent
    answer          jsonb NOT NULL,             -- the rest of the stored answer, without card data
    tranche_ids     bigint[] NOT NULL DEFAULT '{}',
    programmes      smallint[] NOT NULL DEFAULT '{}',
    amounts_idr     bigint[] NOT NULL DEFAULT '{}',
    transfer_ids    bigint[] NOT NULL DEFAULT '{}',
    reversed_idr    bigint NOT NULL DEFAULT 0 CHECK (reversed_idr >= 0),
    reversed_by     bigint,
    business_date   date NOT NULL,
    decided_at      timestamptz NOT NULL DEFAULT now(),
    CHECK (reversed_idr <= amount_idr),
    PRIMARY KEY (cell, id)
) WITH (fillfactor = 90);
CREATE UNIQUE INDEX authorisation_message ON authorisation (cell, message_key);
CREATE INDEX authorisation_tombstone ON authorisation (cell, original_key) WHERE reason = 'ORIGINAL_UNKNOWN';
CREATE INDEX authorisation_account ON authorisation (account_id, id) WHERE account_id > 0;

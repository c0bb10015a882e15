-- Families, their one account and one card, and the lists they came from.
-- NIK, No KK, mother's name and PAN are sealed; the *_index columns are keyed hashes for look-up (keys.vault).

CREATE SEQUENCE family_id_seq;
CREATE SEQUENCE card_id_seq;

CREATE TABLE kpm_batch (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sk_no           text NOT NULL,
    sk_date         date NOT NULL,
    file_name       text NOT NULL,
    file_sha256     text NOT NULL UNIQUE,
    header          text[] NOT NULL,
    state           text NOT NULL,              -- gateway.rules.batch
    rows            int NOT NULL DEFAULT 0,
    accepted        int NOT NULL DEFAULT 0,
    rejected        int NOT NULL DEFAULT 0,
    warnings        int NOT NULL DEFAULT 0,
    maker           text NOT NULL,
    checker         text CHECK (checker <> maker),
    reason          text,
    business_date   date NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    decided_at      timestamptz
);

CREATE TABLE kpm_row (
    batch_id        bigint NOT NULL REFERENCES kpm_batch,
    line            int NOT NULL,
    state           text NOT NULL,              -- ACCEPTED, REJECTED, OPENED, ROUTED
    record          bytea NOT NULL,             -- the row as it stood in the file and its normalised family, sealed
    nik_index       bytea,
    kk_index        bytea,
    person_index    bytea,
    programmes      text[] NOT NULL DEFAULT '{}',
    findings        jsonb NOT NULL DEFAULT '[]',
    account_id      bigint,
    PRIMARY KEY (batch_id, line)
);

CREATE TABLE account (
    cell            smallint NOT NULL,
    id              bigint NOT NULL,            -- one account a family: they share the number
    number          text NOT NULL,
    state           text NOT NULL,              -- gateway.rules.account
    branch          text NOT NULL,
    region          text NOT NULL,
    holder_name     text NOT NULL,
    opened_on       date NOT NULL,
    PRIMARY KEY (cell, id)
);
CREATE UNIQUE INDEX account_number ON account (number);

CREATE TABLE family (
    id              bigint PRIMARY KEY,
    cell            smallint NOT NULL,
    nik             bytea NOT NULL,
    nik_index       bytea NOT NULL UNIQUE,
    no_kk           bytea NOT NULL,
    kk_index        bytea NOT NULL UNIQUE,
    mother_name     bytea,
    person_index    bytea,
    name            text NOT NULL,
    birth_place     text NOT NULL,
    birth_date      date NOT NULL,
    sex             text NOT NULL CHECK (sex IN ('L', 'P')),
    address         text NOT NULL,
    rt              text NOT NULL,
    rw              text NOT NULL,
    phone           text NOT NULL,
    dtsen_id        text NOT NULL,
    batch_id        bigint NOT NULL REFERENCES kpm_batch,
    line            int NOT NULL,
    UNIQUE (batch_id, line)
);
CREATE INDEX family_person ON family (person_index);

CREATE TABLE enrolment (
    family_id       bigint NOT NULL REFERENCES family,
    programme       smallint NOT NULL REFERENCES programme,
    components      jsonb NOT NULL DEFAULT '{}',
    batch_id        bigint NOT NULL REFERENCES kpm_batch,
    valid_from      date NOT NULL,
    PRIMARY KEY (family_id, programme)
);

CREATE TABLE card (
    cell            smallint NOT NULL,
    account_id      bigint NOT NULL,
    id              bigint NOT NULL,
    pan             bytea NOT NULL,
    pan_index       bytea NOT NULL,
    pan_masked      text NOT NULL,
    expires_on      date NOT NULL,
    state           text NOT NULL,              -- gateway.rules.card
    pin_offset      text,
    pin_tries_left  smallint NOT NULL CHECK (pin_tries_left >= 0),
    ordered_on      date NOT NULL,
    delivered_at    timestamptz,
    delivered_to    text,
    handed_over_at  timestamptz,
    handed_over_by  text,
    ktp_seen        boolean NOT NULL DEFAULT false,
    kk_seen         boolean NOT NULL DEFAULT false,
    activated_at    timestamptz,
    reason          text,
    replaces        bigint,
    PRIMARY KEY (cell, account_id, id),
    FOREIGN KEY (cell, account_id) REFERENCES account (cell, id),
    CHECK (state <> 'ACTIVE' OR (pin_offset IS NOT NULL AND ktp_seen AND kk_seen AND handed_over_at IS NOT NULL))
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX card_pan ON card (pan_index);
CREATE UNIQUE INDEX card_one_live ON card (cell, account_id) WHERE state NOT IN ('LOST', 'STOLEN', 'REPLACED', 'CLOSED');
CREATE UNIQUE INDEX card_id ON card (id);

-- What we send to partners of our own accord, stored and forwarded; and what partners send that is no authorisation.

-- The partners' links as the newest running service has read them: who wants to know of stopped cards, and how long we try.
CREATE TABLE outgoing_link (
    link            text PRIMARY KEY,
    hot_list_file   text,                       -- DE101 of what it is told of our cards; NULL: it is told nothing
    expire_s        int NOT NULL CHECK (expire_s > 0)
);

CREATE SEQUENCE outgoing_message_id_seq;

CREATE TABLE outgoing_message (
    id              bigint PRIMARY KEY,         -- the order of the queue; DE11 is made of it
    link            text NOT NULL,
    mti             text NOT NULL CHECK (mti ~ '^0[1-8][0-9][024]$'),  -- of the first sending; gateway.rules.outgoing.repeat_mti
    stan            text NOT NULL CHECK (stan ~ '^[0-9]{6}$'),         -- DE11, DE7, DE37: the same in every sending
    transmitted     text NOT NULL CHECK (transmitted ~ '^[0-9]{10}$'),
    reference       text NOT NULL CHECK (length(reference) = 12),
    content         bytea NOT NULL,             -- the other fields, sealed
    subject         text NOT NULL,              -- whom it is about, for people: card 12
    what            text NOT NULL,              -- and what it says
    deletes         boolean NOT NULL,
    state           text NOT NULL DEFAULT 'QUEUED'
        CHECK (state IN ('QUEUED', 'SENT', 'ANSWERED', 'REFUSED', 'EXPIRED', 'DROPPED')),
    attempts        int NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    queued_at       timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    first_sent_at   timestamptz,
    last_sent_at    timestamptz,
    next_at         timestamptz,                -- not sent again before
    answer_code     text,                       -- DE39 of the newest answer
    trouble         text,                       -- what went wrong the last time
    ended_at        timestamptz,
    ended_by        text,
    reason          text,                       -- of a person who dropped it or had it sent again
    CHECK ((attempts = 0) = (first_sent_at IS NULL) AND (attempts = 0) = (last_sent_at IS NULL)),
    CHECK (state <> 'SENT' OR attempts > 0),
    CHECK (state <> 'ANSWERED' OR answer_code IS NOT NULL),
    CHECK ((state IN ('QUEUED', 'SENT')) = (ended_at IS NULL))
);
CREATE INDEX outgoing_waiting ON outgoing_message (link, id) WHERE state IN ('QUEUED', 'SENT');
CREATE INDEX outgoing_expiring ON outgoing_message (link, expires_at) WHERE state IN ('QUEUED', 'SENT');
CREATE UNIQUE INDEX outgoing_in_flight ON outgoing_message (link) WHERE state = 'SENT';  -- only the head has left
CREATE INDEX outgoing_trouble ON outgoing_message (link, id) WHERE state IN ('REFUSED', 'EXPIRED');
CREATE INDEX outgoing_subject ON outgoing_message (link, subject, id);
CREATE INDEX outgoing_trace ON outgoing_message (link, stan);

-- File actions, totals and administrative messages of partners, each with the answer it got.
CREATE TABLE desk_message (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    link            text NOT NULL,
    class           text NOT NULL CHECK (class IN ('3', '5', '6')),
    message_key     text NOT NULL,
    digest          bytea NOT NULL,             -- of its content: the same key with other content is answered 94
    mti             text NOT NULL,
    answer          jsonb NOT NULL,             -- fields of the answer that are not echoed
    subject         text NOT NULL,
    detail          jsonb NOT NULL DEFAULT '{}',
    business_date   date NOT NULL,
    received_at     timestamptz NOT NULL DEFAULT now(),
    trouble         text,                       -- why a person must look at it
    handled_at      timestamptz,
    handled_by      text,
    reason          text,
    CHECK (num_nonnulls(handled_at, handled_by, reason) IN (0, 3)),
    CHECK (handled_at IS NULL OR trouble IS NOT NULL)
);
CREATE INDEX desk_message_key ON desk_message (link, class, message_key, id);
CREATE INDEX desk_message_trouble ON desk_message (id) WHERE trouble IS NOT NULL AND handled_at IS NULL;

-- What a partner said its settlement date comes to, beside what ours came to when it said so.
CREATE TABLE partner_total (
    desk_id         bigint PRIMARY KEY REFERENCES desk_message,
    link            text NOT NULL,
    settlement_date date NOT NULL,
    theirs          jsonb NOT NULL,             -- counts and rupiah by name: gateway.rules.partner_totals
    ours            jsonb NOT NULL,
    in_balance      boolean NOT NULL
);
CREATE INDEX partner_total_date ON partner_total (link, settlement_date);
CREATE TRIGGER partner_total_fixed BEFORE UPDATE OR DELETE OR TRUNCATE ON partner_total
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kks_app' AND pg_has_role(current_user, oid, 'MEMBER')) THEN
        GRANT SELECT, INSERT, UPDATE ON outgoing_link, outgoing_message, desk_message TO kks_app;
        GRANT SELECT, INSERT ON partner_total TO kks_app;
        GRANT USAGE ON SEQUENCE outgoing_message_id_seq, desk_message_id_seq TO kks_app;
    END IF;
END $$;

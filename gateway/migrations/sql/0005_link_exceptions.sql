-- What a partner told that the books could not follow, or followed late: for people, who decide on it by two. A message opens one
-- in the transaction that answers it; nothing of it changes afterwards but how it ended.

CREATE TABLE link_exception (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reason          text NOT NULL,              -- gateway.rules.link_exception
    link            text NOT NULL,
    business_date   date NOT NULL,
    opened_at       timestamptz NOT NULL DEFAULT now(),
    cell            smallint NOT NULL,
    account_id      bigint NOT NULL,            -- 0: the card is unknown
    card_id         bigint,
    authorisation_id bigint,                    -- the message's own; of a key used again, whose it was first
    original_id     bigint,                     -- what the message names, where it is known
    message_key     bytea NOT NULL,
    content_digest  bytea NOT NULL,
    original_key    bytea,
    mti             text NOT NULL,
    kind            text NOT NULL,
    channel         text NOT NULL,
    acquirer        text NOT NULL,
    terminal        text NOT NULL,
    stan            text NOT NULL,
    transmitted     text NOT NULL,              -- DE7, MMDDhhmmss
    rrn             text,
    amount_idr      bigint NOT NULL,            -- what the message says; 0 where it cannot be read
    taken_idr       bigint,                     -- what of the original was taken before; NULL: there is none
    detail          text NOT NULL DEFAULT '',   -- what was wrong with the message, without its values
    state           text NOT NULL DEFAULT 'OPEN' CHECK (state IN ('OPEN', 'RESOLVED')),
    maker           text,
    checker         text CHECK (lower(btrim(checker)) <> lower(btrim(maker))),
    note            text CHECK (btrim(note) <> ''),
    settled_by      bigint,                     -- the authorisation by which it was over without people
    resolved_on     date,
    CHECK (CASE state WHEN 'OPEN' THEN num_nonnulls(maker, checker, note, settled_by, resolved_on) = 0
           ELSE resolved_on IS NOT NULL AND num_nonnulls(maker, checker, note) = CASE WHEN settled_by IS NULL THEN 3 ELSE 0 END END)
);
CREATE INDEX link_exception_open ON link_exception (business_date, id) WHERE state = 'OPEN';
CREATE INDEX link_exception_message ON link_exception (message_key);
CREATE INDEX link_exception_original ON link_exception (original_key) WHERE state = 'OPEN';

CREATE FUNCTION keep_link_exception() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ending text[] := ARRAY['state', 'maker', 'checker', 'note', 'settled_by', 'resolved_on'];
BEGIN
    IF OLD.state = 'RESOLVED' OR to_jsonb(OLD) - ending <> to_jsonb(NEW) - ending THEN
        RAISE EXCEPTION 'an exception is kept as it came: % refused', OLD.id USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER link_exception_fixed BEFORE UPDATE ON link_exception FOR EACH ROW EXECUTE FUNCTION keep_link_exception();
CREATE TRIGGER link_exception_kept BEFORE DELETE OR TRUNCATE ON link_exception
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A hold that adds to another names it; what completes or reverses the first one finds them by this.
CREATE INDEX authorisation_increment ON authorisation (original_key) WHERE kind = 'HOLD' AND original_key IS NOT NULL;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kks_app' AND pg_has_role(current_user, oid, 'MEMBER')) THEN
        GRANT SELECT, INSERT, UPDATE ON link_exception TO kks_app;
        GRANT USAGE ON SEQUENCE link_exception_id_seq TO kks_app;
    END IF;
END $$;

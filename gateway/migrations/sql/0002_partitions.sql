-- The two tables that grow for ever, transfer and authorisation, become monthly partitions by business date: made ahead by a
-- job, detached after the retention. Statements that run often name a span of dates, so they look at a few partitions only.

ALTER TABLE transfer RENAME TO transfer_whole;
ALTER INDEX transfer_pkey RENAME TO transfer_whole_pkey;
ALTER TABLE authorisation RENAME TO authorisation_whole;
ALTER INDEX authorisation_pkey RENAME TO authorisation_whole_pkey;
DROP INDEX authorisation_message, authorisation_tombstone, authorisation_account;

CREATE TABLE transfer (LIKE transfer_whole INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (business_date);
ALTER TABLE transfer
    ADD PRIMARY KEY (cell, account_id, id, business_date),
    ADD CHECK (tranche_id IS NOT NULL OR (debit < 10000 AND credit < 10000)),  -- money of a family is money of a tranche
    ADD CHECK ((debit < 10000 OR debit / 10000 = account_id) AND (credit < 10000 OR credit / 10000 = account_id));
-- A day of the journal, and a transfer by its bare number: both are written in order, so block ranges are enough.
CREATE INDEX transfer_day ON transfer USING brin (business_date, id) WITH (pages_per_range = 16, autosummarize = on);

CREATE TABLE authorisation (LIKE authorisation_whole INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY RANGE (business_date);
ALTER TABLE authorisation
    ADD COLUMN settlement_date date NOT NULL,             -- the partner's day it is settled in: the next one after cut-over
    ADD COLUMN kept_idr bigint[] NOT NULL DEFAULT '{}',   -- what is still taken of each draw; reversals give the rest back
    ADD COLUMN limit_ids int[] NOT NULL DEFAULT '{}',     -- the limit rules that were evaluated
    ADD COLUMN limit_id int,                              -- the strictest of them: the one that decided
    ADD COLUMN held_until date,                           -- a hold lapses after this date; NULL where nothing is held
    ALTER COLUMN answer TYPE text,                        -- JSON, exactly as it was told
    ADD PRIMARY KEY (cell, id, business_date);
-- A message is answered once. Its key holds DE7, which has no year, so it is unique within a day's span, not for ever; the
-- statement that looks it up names that span, and one writer a lane keeps two from writing it at once.
-- Of these indexes only one fits each hot look-up: the first minutes of a month, when a partition is empty and the planner finds
-- all plans equally cheap, are planned like any other.
CREATE UNIQUE INDEX authorisation_message ON authorisation (message_key, business_date);
CREATE INDEX authorisation_tombstone ON authorisation (original_key) WHERE reason = 'ORIGINAL_UNKNOWN' AND kind = 'REVERSAL';
CREATE INDEX authorisation_account ON authorisation (account_id, business_date) WHERE account_id > 0;
CREATE INDEX authorisation_held ON authorisation (held_until, cell, id) WHERE held_until IS NOT NULL;
CREATE INDEX authorisation_day ON authorisation USING brin (business_date, settlement_date)
    WITH (pages_per_range = 16, autosummarize = on);

-- Makes the monthly partitions of a span of dates that do not exist yet; returns how many. It runs as the schema's owner so
-- that the service may call it, and can do nothing else. ATTACH blocks no reader and no writer.
CREATE FUNCTION make_partitions(first date, last date) RETURNS int LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
DECLARE
    month date := date_trunc('month', first);
    parent text;
    child text;
    made int := 0;
BEGIN
    IF last > first + 3660 THEN
        RAISE EXCEPTION 'partitions of more than ten years at once: % to %', first, last;
    END IF;
    PERFORM pg_advisory_xact_lock(8583004);
    WHILE month <= last LOOP
        FOREACH parent IN ARRAY ARRAY['transfer', 'authorisation'] LOOP
            child := parent || to_char(month, '_YYYY_MM');
            IF to_regclass(child) IS NULL AND to_regclass(child || '_kept') IS NULL THEN
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', child, parent);
                EXECUTE format('ALTER TABLE %I SET (fillfactor = %s)', child, CASE parent WHEN 'transfer' THEN 100 ELSE 90 END);
                EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, month,
                               month + interval '1 month');
                IF parent = 'transfer' THEN
                    EXECUTE format('CREATE TRIGGER transfer_no_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
                                   'EXECUTE FUNCTION refuse_change()', child);
                END IF;
                made := made + 1;
            END IF;
        END LOOP;
        month := month + interval '1 month';
    END LOOP;
    RETURN made;
END $$;
REVOKE EXECUTE ON FUNCTION make_partitions(date, date) FROM PUBLIC;

SELECT make_partitions(least(current_date - 31, (SELECT min(business_date) FROM transfer_whole),
                             (SELECT min(business_date) FROM authorisation_whole)),
                       greatest(current_date + 92, (SELECT max(business_date) FROM transfer_whole)));

CREATE TRIGGER transfer_append_only BEFORE UPDATE OR DELETE ON transfer FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfer_no_truncate BEFORE TRUNCATE ON transfer FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

INSERT INTO transfer SELECT * FROM transfer_whole;
INSERT INTO authorisation
    SELECT w.cell, w.id, w.account_id, w.card_id, w.link, w.kind, w.message_key, w.content_digest, w.original_key, w.mti,
           w.channel, w.mcc, w.terminal, w.merchant, w.acquirer, w.stan, w.transmitted, w.rrn, w.amount_idr, w.reason,
           w.response_code, w.answer::text, w.tranche_ids, w.programmes, w.amounts_idr, w.transfer_ids, w.reversed_idr,
           w.reversed_by, w.business_date, w.decided_at, w.business_date,
           CASE WHEN w.reversed_idr = 0 THEN w.amounts_idr
                ELSE array(SELECT greatest(0, a - greatest(0, w.reversed_idr
                               - coalesce((SELECT sum(b) FROM unnest(w.amounts_idr) WITH ORDINALITY AS y (b, m) WHERE m > n), 0)))
                           FROM unnest(w.amounts_idr) WITH ORDINALITY AS x (a, n) ORDER BY n) END,
           '{}', NULL, NULL
    FROM authorisation_whole w;
DROP TABLE transfer_whole, authorisation_whole;

ALTER TABLE tranche ADD COLUMN available_from date;  -- before this date the money is the family's and cannot be spent yet
UPDATE tranche SET available_from = credited_on;
ALTER TABLE tranche ALTER COLUMN available_from SET NOT NULL;
ALTER TABLE programme ADD COLUMN available_after_days smallint NOT NULL DEFAULT 0 CHECK (available_after_days >= 0);
CREATE INDEX tranche_number ON tranche USING brin (id) WITH (pages_per_range = 16);  -- a tranche by its bare number

-- Retention. A month of the journal and of the authorisations that is older than the retention is taken out of the hot tables
-- by detaching its partition: it stays in the database as a table of its own that nobody can change, readable by auditors. What
-- it did to tranches is carried into their opening balances first (carry_month), so the proof holds over what is at hand.

CREATE TABLE retention (
    table_name      text PRIMARY KEY,               -- transfer_2016_01_kept
    month           date NOT NULL,
    detached_at     timestamptz NOT NULL DEFAULT now(),
    rows            bigint NOT NULL,
    amount_idr      bigint NOT NULL,                -- of all its rows, whatever they are
    detached_through date NOT NULL                  -- the last day of the month: the journal at hand begins after it
);
CREATE TRIGGER retention_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON retention
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'kks_auditor') THEN
        CREATE ROLE kks_auditor NOLOGIN;            -- may read the months that were detached; give it to auditors
    END IF;
EXCEPTION
    WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN NULL;  -- the owner grants by hand
END $$;

-- Frozen tranches are few and on their way out; without an index of their own each look for them goes through all open ones.
CREATE INDEX tranche_frozen ON tranche (clock_from, id) WHERE state = 'FROZEN';

-- Takes one month out of the hot tables. The oldest first; only after the retention, ten years at least; only when every day of
-- it is closed and no hold of it is open. ACCESS EXCLUSIVE is needed for a moment at the end; where a long reader is in the way
-- the function gives up after five seconds instead of making everyone wait behind it.
CREATE FUNCTION retire_month(month date, years int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    first CONSTANT date := date_trunc('month', month);
    last CONSTANT date := date_trunc('month', month) + interval '1 month' - interval '1 day';
    today CONSTANT date := (SELECT coalesce(business_date, (now() AT TIME ZONE 'Asia/Jakarta')::date) FROM bank);
    parent text;
    child text;
    kept text;
    counted bigint;
    summed bigint;
    detached text[] := '{}';
BEGIN
    IF years IS NULL OR years < 10 THEN
        RAISE EXCEPTION 'the journal is kept for ten years at least, not %', coalesce(years::text, 'NULL')
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF last + make_interval(years => years) >= today THEN
        RAISE EXCEPTION 'month % is not % years old', to_char(first, 'YYYY-MM'), years
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF EXISTS (SELECT FROM authorisation WHERE held_until IS NOT NULL AND business_date <= last) THEN
        RAISE EXCEPTION 'month % has a hold that is open', to_char(first, 'YYYY-MM')
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    PERFORM pg_advisory_xact_lock(8583004);
    PERFORM carry_month(first);
    FOR child IN  -- of earlier months too: those before the bank's first day, which nobody ever closed
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent IN ('transfer'::regclass, 'authorisation'::regclass)
          AND to_date(substring(c.relname FROM '[0-9]{4}_[0-9]{2}$'), 'YYYY_MM') <= first ORDER BY c.relname
    LOOP
        EXECUTE format('SELECT count(*), coalesce(sum(amount_idr), 0) FROM %I', child) INTO counted, summed;
        INSERT INTO retention (table_name, month, rows, amount_idr, detached_through)
        VALUES (child || '_kept', to_date(right(child, 7), 'YYYY_MM'), counted, summed, last);
        detached := detached || child;
    END LOOP;
    FOREACH child IN ARRAY detached LOOP
        parent := regexp_replace(child, '_\d{4}_\d{2}$', '');
        kept := child || '_kept';
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, child);
        EXECUTE format('ALTER TABLE %I RENAME TO %I', child, kept);
        EXECUTE format('CREATE TRIGGER kept BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT '
                       'EXECUTE FUNCTION refuse_change()', kept);
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kks_app') THEN
            EXECUTE format('REVOKE ALL ON %I FROM kks_app', kept);
        END IF;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kks_auditor') THEN
            EXECUTE format('GRANT SELECT ON %I TO kks_auditor', kept);
        END IF;
    END LOOP;
    RETURN cardinality(detached);
END $$;
REVOKE EXECUTE ON FUNCTION retire_month(date, int) FROM PUBLIC;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kks_auditor') THEN
        GRANT USAGE ON SCHEMA public TO kks_auditor;
        GRANT SELECT ON retention TO kks_auditor;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kks_app' AND pg_has_role(current_user, oid, 'MEMBER')) THEN
        GRANT EXECUTE ON FUNCTION retire_month(date, int) TO kks_app;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN NULL;          -- a role of that name that is not ours to give rights to
END $$;

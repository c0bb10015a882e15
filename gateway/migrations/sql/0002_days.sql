-- Days. A business date is closed once and in order: from the moment it is locked nobody can add a transfer to it or to an
-- earlier one, its journal is hashed into a chain, and checkpoints are written from which proofs and balances start.

CREATE TABLE closed_day (
    business_date   date PRIMARY KEY,
    state           text NOT NULL DEFAULT 'CLOSING' CHECK (state IN ('CLOSING', 'CLOSED')),
    actor           text NOT NULL,
    locked_at       timestamptz NOT NULL DEFAULT now(),
    closed_at       timestamptz,
    transfers       bigint,
    amount_idr      bigint,
    day_hash        bytea CHECK (length(day_hash) = 32),
    chain_hash      bytea CHECK (length(chain_hash) = 32),
    CHECK (num_nonnulls(closed_at, transfers, amount_idr, day_hash, chain_hash) = CASE state WHEN 'CLOSED' THEN 5 ELSE 0 END)
);

-- What the journal adds up to at the end of a closed day: of every control account, of every cell's purses, and of each tranche
-- on the last closed day that moved it. Written by the close, proved against the whole journal by `kks ledger proof --full`.
CREATE TABLE purse_checkpoint (
    business_date   date NOT NULL,
    cell            smallint NOT NULL,
    programme       smallint NOT NULL,
    available_idr   bigint NOT NULL,
    held_idr        bigint NOT NULL,
    frozen_idr      bigint NOT NULL,
    PRIMARY KEY (business_date, cell, programme)
);
CREATE TABLE tranche_checkpoint (
    cell            smallint NOT NULL,
    account_id      bigint NOT NULL,
    tranche_id      bigint NOT NULL,
    through         date NOT NULL,
    credited_idr    bigint NOT NULL,
    available_idr   bigint NOT NULL,
    held_idr        bigint NOT NULL,
    frozen_idr      bigint NOT NULL,
    returned_idr    bigint NOT NULL,
    PRIMARY KEY (cell, account_id, tranche_id)
) WITH (fillfactor = 70);

-- Where the journal at hand begins. Months that were detached after the retention are carried into tranche_opening first
-- (carry_month); control accounts begin at their checkpoint of detached_through.
CREATE TABLE journal_opening (
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    detached_through date,                     -- NULL: nothing was ever detached
    last_id         bigint NOT NULL DEFAULT 0  -- the highest transfer id that was carried
);
INSERT INTO journal_opening DEFAULT VALUES;
CREATE TABLE tranche_opening (
    cell            smallint NOT NULL,
    account_id      bigint NOT NULL,
    tranche_id      bigint NOT NULL,
    programme       smallint NOT NULL,
    credited_idr    bigint NOT NULL,
    available_idr   bigint NOT NULL,
    held_idr        bigint NOT NULL,
    frozen_idr      bigint NOT NULL,
    returned_idr    bigint NOT NULL,
    PRIMARY KEY (cell, account_id, tranche_id)
);

-- A transfer as what it changes of its tranche, and of control accounts.
CREATE VIEW tranche_move AS
    SELECT cell, account_id, id, tranche_id, (CASE WHEN debit >= 10000 THEN debit ELSE credit END % 10000 / 10)::smallint AS programme,
           CASE kind WHEN 'CREDIT' THEN amount_idr ELSE 0 END AS credited_idr,
           CASE WHEN credit >= 10000 AND credit % 10 = 0 THEN amount_idr ELSE 0 END
             - CASE WHEN debit >= 10000 AND debit % 10 = 0 THEN amount_idr ELSE 0 END AS available_idr,
           CASE WHEN credit >= 10000 AND credit % 10 = 1 THEN amount_idr ELSE 0 END
             - CASE WHEN debit >= 10000 AND debit % 10 = 1 THEN amount_idr ELSE 0 END AS held_idr,
           CASE WHEN credit >= 10000 AND credit % 10 = 2 THEN amount_idr ELSE 0 END
             - CASE WHEN debit >= 10000 AND debit % 10 = 2 THEN amount_idr ELSE 0 END AS frozen_idr,
           CASE kind WHEN 'TO_RPL' THEN amount_idr ELSE 0 END AS returned_idr,
           kind, source, source_id, corrects, business_date, posted_at
    FROM transfer WHERE tranche_id IS NOT NULL;
CREATE VIEW control_move AS
    SELECT leg.account, leg.amount_idr, t.kind, t.source, t.source_id, t.business_date, t.posted_at
    FROM transfer t CROSS JOIN LATERAL (VALUES (t.credit, t.amount_idr), (t.debit, -t.amount_idr)) AS leg (account, amount_idr)
    WHERE leg.account < 10000;

-- Why a wrong transfer was taken back, by whom, and to which day it belongs. Its transfer has source = 'correction'.
CREATE TABLE correction (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cell            smallint NOT NULL,
    account_id      bigint NOT NULL,
    transfer_id     bigint NOT NULL,            -- the wrong transfer
    value_date      date NOT NULL,              -- its business date, the day the correction belongs to
    amount_idr      bigint NOT NULL CHECK (amount_idr > 0),
    maker           text NOT NULL,
    checker         text NOT NULL CHECK (checker <> maker),
    reason          text NOT NULL CHECK (reason <> ''),
    business_date   date NOT NULL,              -- the open day in which it was posted
    corrected_at    timestamptz NOT NULL DEFAULT now()
);

-- Every statement that adds transfers: its oldest date must be open. The shared lock is of that date alone, so that closing a day
-- waits for whoever still posts into it, and for nobody else.
CREATE FUNCTION refuse_closed_day() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    oldest date;
    closed date;
BEGIN
    SELECT min(business_date) INTO oldest FROM added;
    IF oldest IS NULL THEN
        RETURN NULL;
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN  -- an older snapshot would not see the newest close
        RAISE EXCEPTION 'transfers are posted in READ COMMITTED only' USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM pg_catalog.pg_advisory_xact_lock_shared(8583007, oldest - DATE '2000-01-01');
    SELECT max(business_date) INTO closed FROM public.closed_day;
    IF oldest <= closed THEN
        RAISE EXCEPTION 'business date % is closed: the journal is locked up to and including %', oldest, closed
            USING ERRCODE = 'check_violation', CONSTRAINT = 'open_day', TABLE = 'transfer';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER transfer_day_open AFTER INSERT ON transfer REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_closed_day();

-- Locks a day, as the only way to do so: waits until nobody is posting into it, then nobody can. The first close ever also
-- keeps everyone from posting into an earlier day.
CREATE FUNCTION lock_day(day date, actor text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(8583006);
    IF NOT EXISTS (SELECT FROM closed_day) THEN
        LOCK TABLE transfer IN SHARE ROW EXCLUSIVE MODE;
        IF EXISTS (SELECT FROM transfer WHERE business_date < day) THEN
            RAISE EXCEPTION 'days are closed in order: the journal has transfers before %', day
                USING ERRCODE = 'check_violation', CONSTRAINT = 'day_in_order', TABLE = 'closed_day';
        END IF;
    END IF;
    PERFORM pg_advisory_xact_lock(8583007, day - DATE '2000-01-01');
    INSERT INTO closed_day (business_date, actor) VALUES (day, actor);
END $$;
REVOKE EXECUTE ON FUNCTION lock_day(date, text) FROM PUBLIC;

CREATE FUNCTION keep_days_in_order() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    newest record;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.state = 'CLOSED' OR NEW.state <> 'CLOSED' OR NEW.business_date <> OLD.business_date THEN
            RAISE EXCEPTION 'a closed day does not change: % refused', OLD.business_date
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN NEW;
    END IF;
    SELECT business_date, state INTO newest FROM public.closed_day ORDER BY business_date DESC LIMIT 1;
    IF NEW.state <> 'CLOSING' OR (FOUND AND (newest.state <> 'CLOSED' OR NEW.business_date <> newest.business_date + 1)) THEN
        RAISE EXCEPTION 'days are closed in order: % does not follow %', NEW.business_date, newest.business_date
            USING ERRCODE = 'check_violation', CONSTRAINT = 'day_in_order', TABLE = 'closed_day';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER closed_day_in_order BEFORE INSERT OR UPDATE ON closed_day FOR EACH ROW EXECUTE FUNCTION keep_days_in_order();
CREATE TRIGGER closed_day_kept BEFORE DELETE OR TRUNCATE ON closed_day FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The bank's date never goes back onto a closed day. Closing holds the bank's row while it locks a day, so the two take turns.
CREATE FUNCTION keep_date_open() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wanted date := coalesce(NEW.business_date, (now() AT TIME ZONE 'Asia/Jakarta')::date);
    closed date;
BEGIN
    SELECT max(business_date) INTO closed FROM public.closed_day;
    IF wanted <= closed THEN
        RAISE EXCEPTION 'the business date cannot be %: the days up to and including % are closed', wanted, closed
            USING ERRCODE = 'check_violation', CONSTRAINT = 'open_day', TABLE = 'bank';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER bank_date_open BEFORE UPDATE OF business_date ON bank FOR EACH ROW EXECUTE FUNCTION keep_date_open();

-- Carries what a month did to its tranches into their opening balances. To be called in the transaction that detaches the month
-- from transfer, before it; the month must be closed to its end, and follow the one carried before. Returns how many tranches.
CREATE FUNCTION carry_month(month date) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    first date := date_trunc('month', month);
    last date := date_trunc('month', month) + interval '1 month' - interval '1 day';
    before date;
    carried bigint;
BEGIN
    SELECT detached_through INTO before FROM journal_opening FOR UPDATE;
    IF NOT EXISTS (SELECT FROM closed_day WHERE business_date = last AND state = 'CLOSED') THEN
        RAISE EXCEPTION 'month % is not closed to its end' , first USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF first <> coalesce(before + 1, first) OR EXISTS (SELECT FROM transfer WHERE business_date < first) THEN
        RAISE EXCEPTION 'months are carried in order: % does not follow %', first, before
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    INSERT INTO tranche_opening AS o
    SELECT cell, account_id, tranche_id, programme, sum(credited_idr), sum(available_idr), sum(held_idr), sum(frozen_idr),
           sum(returned_idr)
    FROM tranche_move WHERE business_date BETWEEN first AND last GROUP BY cell, account_id, tranche_id, programme
    ON CONFLICT (cell, account_id, tranche_id) DO UPDATE SET credited_idr = o.credited_idr + EXCLUDED.credited_idr,
        available_idr = o.available_idr + EXCLUDED.available_idr, held_idr = o.held_idr + EXCLUDED.held_idr,
        frozen_idr = o.frozen_idr + EXCLUDED.frozen_idr, returned_idr = o.returned_idr + EXCLUDED.returned_idr;
    GET DIAGNOSTICS carried = ROW_COUNT;
    UPDATE journal_opening SET detached_through = last, last_id = greatest(last_id,
        (SELECT max(id) FROM transfer WHERE business_date BETWEEN first AND last));
    RETURN carried;
END $$;
REVOKE EXECUTE ON FUNCTION carry_month(date) FROM PUBLIC;

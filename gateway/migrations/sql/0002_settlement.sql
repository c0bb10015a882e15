-- What the bank owes its partners, by link, partner's day and channel. A settlement is written once, when its date is over, as
-- what the authorisations of that date say; afterwards only its payment is added.

CREATE TABLE settlement (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    link            text NOT NULL,
    settlement_date date NOT NULL,
    channel         text NOT NULL CHECK (channel IN ('ATM', 'AGENT', 'EWARONG')),
    control         int NOT NULL CHECK (control BETWEEN 1000 AND 9999),  -- the ledger's account of what is owed (ledger.chart)
    withdrawals     int NOT NULL,
    withdrawals_idr bigint NOT NULL,
    purchases       int NOT NULL,
    purchases_idr   bigint NOT NULL,
    completions     int NOT NULL,
    completions_idr bigint NOT NULL,
    reversals       int NOT NULL,               -- those that gave money back
    reversals_idr   bigint NOT NULL,
    refunds         int NOT NULL,
    refunds_idr     bigint NOT NULL,
    corrections     int NOT NULL,               -- payments that were booked and did not happen (table correction)
    corrections_idr bigint NOT NULL,
    declined        int NOT NULL,               -- requests of any kind that were refused
    net_idr         bigint NOT NULL             -- above zero: the bank owes the partner; below: the partner owes the bank
        GENERATED ALWAYS AS (withdrawals_idr + purchases_idr + completions_idr
                             - reversals_idr - refunds_idr - corrections_idr) STORED,
    state           text NOT NULL DEFAULT 'CLOSED' CHECK (state IN ('CLOSED', 'PAID')),  -- a date that is OPEN has no row
    closed_by       text NOT NULL,
    closed_at       timestamptz NOT NULL DEFAULT now(),
    ordered_by      text,                       -- the first person of a payment, with the number of the transfer order
    evidence        text,
    paid_by         text CHECK (paid_by <> ordered_by),
    paid_on         date,                       -- business date of the SETTLE transfer
    UNIQUE (link, settlement_date, channel),
    CHECK (least(withdrawals, withdrawals_idr, purchases, purchases_idr, completions, completions_idr, reversals, reversals_idr,
                 refunds, refunds_idr, corrections, corrections_idr, declined) >= 0),
    CHECK (num_nonnulls(ordered_by, evidence) <> 1),
    CHECK (num_nonnulls(paid_by, paid_on) = CASE state WHEN 'PAID' THEN 2 ELSE 0 END),
    CHECK (state <> 'PAID' OR ordered_by IS NOT NULL)
);
CREATE INDEX settlement_unpaid ON settlement (settlement_date) WHERE state = 'CLOSED';

-- Whom an AGENT or EWARONG settlement is owed to: one line a merchant and terminal. They add up to the settlement.
CREATE TABLE settlement_payee (
    settlement_id   bigint NOT NULL REFERENCES settlement,
    acquirer        text NOT NULL,
    merchant        text NOT NULL,              -- empty: the partner names none
    terminal        text NOT NULL,
    count           int NOT NULL,               -- withdrawals, purchases and completions
    amount_idr      bigint NOT NULL,
    reversed        int NOT NULL,               -- reversals, refunds and corrections
    reversed_idr    bigint NOT NULL,
    net_idr         bigint NOT NULL GENERATED ALWAYS AS (amount_idr - reversed_idr) STORED,
    PRIMARY KEY (settlement_id, acquirer, merchant, terminal),
    CHECK (least(count, amount_idr, reversed, reversed_idr) >= 0)
);

-- What stands between an authorisation's two dates: closing a settlement looks at two business dates and misses nothing.
ALTER TABLE authorisation ADD CONSTRAINT authorisation_partners_day
    CHECK (settlement_date BETWEEN business_date AND business_date + 1);

CREATE FUNCTION keep_settlement() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    payment text[] := ARRAY['state', 'ordered_by', 'evidence', 'paid_by', 'paid_on', 'net_idr'];  -- net_idr follows the others
BEGIN
    IF OLD.state = 'PAID' OR to_jsonb(OLD) - payment <> to_jsonb(NEW) - payment THEN
        RAISE EXCEPTION 'a closed settlement does not change: % of % refused', OLD.channel, OLD.settlement_date
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER settlement_fixed BEFORE UPDATE ON settlement FOR EACH ROW EXECUTE FUNCTION keep_settlement();
CREATE TRIGGER settlement_kept BEFORE DELETE OR TRUNCATE ON settlement FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER settlement_payee_fixed BEFORE UPDATE OR DELETE OR TRUNCATE ON settlement_payee
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

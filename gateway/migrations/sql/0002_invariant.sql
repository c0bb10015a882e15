-- A purse is what its tranches add up to, by the database's own doing: every change of tranches is carried to their purses in
-- the same statement, and a purse that is changed by itself is refused, whoever asks.

CREATE FUNCTION carry_new_tranches() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO purse AS p (cell, account_id, programme, available_idr, held_idr, frozen_idr)
    SELECT cell, account_id, programme, sum(available_idr), sum(held_idr), sum(frozen_idr) FROM added GROUP BY 1, 2, 3
    ON CONFLICT (cell, account_id, programme) DO UPDATE SET available_idr = p.available_idr + EXCLUDED.available_idr,
        held_idr = p.held_idr + EXCLUDED.held_idr, frozen_idr = p.frozen_idr + EXCLUDED.frozen_idr;
    RETURN NULL;
END $$;

CREATE FUNCTION carry_changed_tranches() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
DECLARE
    wanted bigint;
    carried bigint;
BEGIN
    WITH change AS (
        SELECT cell, account_id, programme, sum(available) AS available, sum(held) AS held, sum(frozen) AS frozen
        FROM (SELECT cell, account_id, programme, available_idr AS available, held_idr AS held, frozen_idr AS frozen FROM after
              UNION ALL
              SELECT cell, account_id, programme, -available_idr, -held_idr, -frozen_idr FROM before) b
        GROUP BY 1, 2, 3
        HAVING sum(available) <> 0 OR sum(held) <> 0 OR sum(frozen) <> 0
    ), moved AS (
        UPDATE purse p SET available_idr = p.available_idr + c.available, held_idr = p.held_idr + c.held,
                           frozen_idr = p.frozen_idr + c.frozen
        FROM change c WHERE (p.cell, p.account_id, p.programme) = (c.cell, c.account_id, c.programme) RETURNING 1
    )
    SELECT (SELECT count(*) FROM change), (SELECT count(*) FROM moved) INTO wanted, carried;
    IF wanted <> carried THEN
        RAISE EXCEPTION 'a tranche has no purse: % of % purses changed', carried, wanted USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION refuse_lone_purse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a purse changes only with its tranches: % refused', TG_OP USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER tranche_added AFTER INSERT ON tranche REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION carry_new_tranches();
CREATE TRIGGER tranche_changed AFTER UPDATE ON tranche REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION carry_changed_tranches();
CREATE TRIGGER tranche_kept BEFORE DELETE OR TRUNCATE ON tranche
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER purse_follows BEFORE INSERT OR UPDATE OR DELETE ON purse
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION refuse_lone_purse();
CREATE TRIGGER purse_kept BEFORE TRUNCATE ON purse
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

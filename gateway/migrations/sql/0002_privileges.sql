-- What the service's role may do with what this migration made.

DO $$
DECLARE
    child text;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kks_app' AND pg_has_role(current_user, oid, 'MEMBER')) THEN
        GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO kks_app;
        REVOKE UPDATE ON transfer, audit_event FROM kks_app;
        REVOKE UPDATE ON settlement_payee FROM kks_app;
        REVOKE INSERT, UPDATE ON purse FROM kks_app;  -- the database carries tranches to purses itself
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO kks_app;
        GRANT EXECUTE ON FUNCTION make_partitions(date, date) TO kks_app;
        REVOKE INSERT ON closed_day FROM kks_app;  -- days are locked by lock_day() alone
        REVOKE INSERT, UPDATE ON tranche_opening, journal_opening, retention FROM kks_app;
        GRANT EXECUTE ON FUNCTION lock_day(date, text) TO kks_app;
        FOR child IN SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'transfer'::regclass LOOP
            EXECUTE format('REVOKE INSERT, UPDATE ON %s FROM kks_app', child);  -- past the whole table's triggers
        END LOOP;
    END IF;
END $$;

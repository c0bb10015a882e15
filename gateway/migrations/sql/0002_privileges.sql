-- What the service's role may do with what this migration made.

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kks_app' AND pg_has_role(current_user, oid, 'MEMBER')) THEN
        GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO kks_app;
        REVOKE UPDATE ON transfer, audit_event FROM kks_app;
        REVOKE INSERT, UPDATE ON purse FROM kks_app;  -- the database carries tranches to purses itself
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO kks_app;
        GRANT EXECUTE ON FUNCTION make_partitions(date, date) TO kks_app;
    END IF;
END $$;

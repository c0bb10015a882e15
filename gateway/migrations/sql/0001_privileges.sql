-- The service works as kks_app: it may add transfers and audit events and may not change or remove them. The triggers say
-- the same to everyone else, superusers included.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'kks_app') THEN
        CREATE ROLE kks_app NOLOGIN;
    END IF;
    EXECUTE format('GRANT kks_app TO %I', current_user);
EXCEPTION
    WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN NULL;  -- the triggers stand all the same
END $$;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER transfer_append_only BEFORE UPDATE OR DELETE ON transfer FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfer_no_truncate BEFORE TRUNCATE ON transfer FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit_event FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit_event FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kks_app' AND pg_has_role(current_user, oid, 'MEMBER')) THEN
        GRANT USAGE ON SCHEMA public TO kks_app;
        GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO kks_app;
        REVOKE UPDATE ON transfer, audit_event FROM kks_app;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO kks_app;
    END IF;
END $$;

-- Lists as sealed chunks of some thousand rows instead of rows sealed one by one, and what crediting and opening need to work on
-- a chunk at once. Rows taken in before keep their own sealed `record`; they are made into chunks when they are first needed
-- (gateway.operations.si_chunk, gateway.operations.kpm_chunk), and their `record` is read no more after that.

ALTER TABLE account ADD COLUMN holder_comparable text;     -- gateway.rules.names.comparable; NULL: opened before, filled when credited

ALTER TABLE si
    ADD COLUMN available_from date,                         -- not to be spent before; NULL: as the programme says
    ADD COLUMN by_programme jsonb NOT NULL DEFAULT '{}';    -- rupiah of the list by programme code; "" where the row's is not known
UPDATE si SET by_programme = t.amounts
    FROM (SELECT si_id, jsonb_object_agg(programme, amount) AS amounts
          FROM (SELECT si_id, coalesce(programme, '') AS programme, sum(amount_idr) AS amount FROM si_row
                WHERE amount_idr > 0 GROUP BY 1, 2) p
          GROUP BY 1) t
    WHERE t.si_id = si.id;

CREATE TABLE si_chunk (
    si_id           bigint NOT NULL REFERENCES si,
    first_line      int NOT NULL,               -- where the chunk begins in the file
    rows            int NOT NULL CHECK (rows > 0),
    record          bytea NOT NULL,             -- the rows as they stood in the file (gateway.files.packed), sealed
    PRIMARY KEY (si_id, first_line)
);
ALTER TABLE si_chunk ALTER COLUMN record SET STORAGE EXTERNAL;  -- what is sealed does not compress

CREATE TABLE si_part (
    si_id           bigint NOT NULL REFERENCES si,
    lane            smallint NOT NULL,          -- rows of one account are always of one lane
    first_line      int NOT NULL,               -- of its chunk
    rows            int NOT NULL CHECK (rows > 0),
    staged          bytea,                      -- the judged rows as COPY takes them, sealed; NULL once they are in si_row
    PRIMARY KEY (si_id, lane, first_line)
);
ALTER TABLE si_part ALTER COLUMN staged SET STORAGE EXTERNAL;

CREATE TABLE si_lane (
    si_id           bigint NOT NULL REFERENCES si,
    lane            smallint NOT NULL,
    posted_line     int NOT NULL DEFAULT 0,     -- parts up to the one that begins here are dealt with
    PRIMARY KEY (si_id, lane)
);

-- A row of an SI is written once, when it is decided; its months are then the tranche's, its NIK the account's. Rows of an SI taken
-- in before wait there already.
ALTER TABLE si_row
    ALTER COLUMN record DROP NOT NULL,
    ADD COLUMN cell smallint,                   -- with account_id and tranche_id the key of its tranche
    ADD COLUMN account_id bigint,               -- also of a row that was refused, where its account is known
    SET (fillfactor = 100);
UPDATE si_row r SET cell = t.cell, account_id = t.account_id
    FROM tranche t WHERE t.si_id = r.si_id AND t.si_line = r.line AND r.tranche_id = t.id;

CREATE TABLE kpm_chunk (
    batch_id        bigint NOT NULL REFERENCES kpm_batch,
    first_line      int NOT NULL,               -- where the chunk begins in the file
    last_line       int NOT NULL,
    rows            int NOT NULL CHECK (rows > 0),
    record          bytea NOT NULL,             -- the rows as they stood in the file (gateway.files.packed), sealed
    families        int NOT NULL,               -- how many of them were accepted
    family_record   bytea,                      -- those, normalised, sealed; NULL once the chunk is opened, or where there is none
    PRIMARY KEY (batch_id, first_line)
);
ALTER TABLE kpm_chunk ALTER COLUMN record SET STORAGE EXTERNAL, ALTER COLUMN family_record SET STORAGE EXTERNAL;
ALTER TABLE kpm_row
    ALTER COLUMN record DROP NOT NULL,
    SET (fillfactor = 50);                      -- a row is changed once, when its account is opened: within its page

-- What a new row refers to is looked up once a statement, not once a row (opening a list spent a third of its time on that). Rows
-- that are referred to cannot go: nothing is ever deleted from these tables, and their numbers never change.
ALTER TABLE family DROP CONSTRAINT family_batch_id_fkey;
ALTER TABLE enrolment
    DROP CONSTRAINT enrolment_family_id_fkey, DROP CONSTRAINT enrolment_programme_fkey, DROP CONSTRAINT enrolment_batch_id_fkey;
ALTER TABLE card DROP CONSTRAINT card_cell_account_id_fkey;

CREATE FUNCTION refuse_orphans() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    orphan bigint;
BEGIN
    CASE TG_TABLE_NAME
        WHEN 'family' THEN
            SELECT b INTO orphan FROM (SELECT DISTINCT batch_id AS b FROM added) a
            WHERE (SELECT 1 FROM kpm_batch k WHERE k.id = b) IS NULL LIMIT 1;
        WHEN 'enrolment' THEN
            SELECT p INTO orphan FROM (SELECT DISTINCT programme AS p, batch_id AS b FROM added) a
            WHERE (SELECT 1 FROM programme k WHERE k.number = p) IS NULL OR (SELECT 1 FROM kpm_batch k WHERE k.id = b) IS NULL LIMIT 1;
            IF orphan IS NULL THEN
                SELECT family_id INTO orphan FROM added a WHERE (SELECT 1 FROM family k WHERE k.id = a.family_id) IS NULL LIMIT 1;
            END IF;
        WHEN 'card' THEN
            SELECT account_id INTO orphan FROM added a
            WHERE (SELECT 1 FROM account k WHERE k.cell = a.cell AND k.id = a.account_id) IS NULL LIMIT 1;
    END CASE;
    IF orphan IS NOT NULL THEN
        RAISE EXCEPTION '% refers to what is not there: %', TG_TABLE_NAME, orphan USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER family_known AFTER INSERT ON family REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_orphans();
CREATE TRIGGER enrolment_known AFTER INSERT ON enrolment REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_orphans();
CREATE TRIGGER card_known AFTER INSERT ON card REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_orphans();

CREATE FUNCTION refuse_renumbering() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is referred to: % of its key refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'foreign_key_violation';
END $$;
CREATE TRIGGER kpm_batch_kept BEFORE UPDATE OF id OR DELETE OR TRUNCATE ON kpm_batch
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_renumbering();
CREATE TRIGGER programme_kept BEFORE UPDATE OF number OR DELETE OR TRUNCATE ON programme
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_renumbering();
CREATE TRIGGER family_kept BEFORE UPDATE OF id OR DELETE OR TRUNCATE ON family
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_renumbering();
CREATE TRIGGER account_kept BEFORE UPDATE OF cell, id OR DELETE OR TRUNCATE ON account
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_renumbering();
-- The columns of a card or an enrolment that refer to others are written once.
CREATE TRIGGER card_stays BEFORE UPDATE OF cell, account_id ON card
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_renumbering();
CREATE TRIGGER enrolment_stays BEFORE UPDATE OF family_id, programme, batch_id ON enrolment
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_renumbering();
CREATE TRIGGER family_stays BEFORE UPDATE OF batch_id ON family
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_renumbering();

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kks_app' AND pg_has_role(current_user, oid, 'MEMBER')) THEN
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO kks_app', current_database());  -- rows are staged in temporary tables
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN NULL;      -- PUBLIC may, unless somebody has said otherwise
END $$;

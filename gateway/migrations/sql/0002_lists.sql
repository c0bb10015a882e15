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

-- A row of an SI is written once, when it is decided. Rows of an SI taken in before wait there already.
ALTER TABLE si_row
    ALTER COLUMN record DROP NOT NULL,
    ADD COLUMN cell smallint,                   -- with account_id and tranche_id the key of its tranche
    ADD COLUMN account_id bigint,               -- also of a row that was refused, where its account is known
    SET (fillfactor = 100);
UPDATE si_row r SET cell = t.cell, account_id = t.account_id
    FROM tranche t WHERE t.si_id = r.si_id AND t.si_line = r.line AND r.tranche_id = t.id;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'kks_app' AND pg_has_role(current_user, oid, 'MEMBER')) THEN
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO kks_app', current_database());  -- rows are staged in temporary tables
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN NULL;      -- PUBLIC may, unless somebody has said otherwise
END $$;

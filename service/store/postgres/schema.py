"""The schema of a PostgreSQL database, as a new database gets it.

A change of the schema is made twice: here, and as a step in `migrations` for existing databases.
The search tables are made when they are needed (see `spaces`).
"""

from typing import Final

VERSION: Final = 13

# The next run of autovacuum removes deleted rows, instead of waiting until a fifth of all rows are
# deleted; it also removes them from indexes, which it would skip while few rows are deleted.
VACUUM_SOON: Final = """autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
    vacuum_index_cleanup = on"""

_TABLES = f"""
-- A release that was interrupted may have left these two, and the version 0.
CREATE SCHEMA IF NOT EXISTS likeness;
CREATE TABLE IF NOT EXISTS likeness.schema (version integer NOT NULL);
DELETE FROM likeness.schema;

-- Values that may be encrypted are bytes, encrypted or not.

-- Keys of subjects, of search tables and of API keys that sign, encrypted by a master key. The id
-- of a destroyed key stays. So after the restore of an old backup, today's keys show which subjects
-- were erased since.
CREATE TABLE likeness.data_keys (
    key_id text COLLATE "C" PRIMARY KEY,
    master text COLLATE "C",
    wrapped bytea,
    CHECK ((master IS NULL) = (wrapped IS NULL))
) WITH ({VACUUM_SOON});
CREATE INDEX ON likeness.data_keys (master);

-- Keys whose values are not bound to their place yet (see `unbound`).
CREATE TABLE likeness.unbound (key_id text COLLATE "C" PRIMARY KEY);

-- The default collection is named "" and has no row here.
CREATE TABLE likeness.collections (
    collection text COLLATE "C" PRIMARY KEY,
    created_at timestamptz NOT NULL
);

-- `odd_name` marks subjects whose name is not in today's form. It is true by default, so that
-- subjects that a replica of an earlier release enrols are checked at the next start.
CREATE TABLE likeness.subjects (
    subject text COLLATE "C" PRIMARY KEY,
    created_at timestamptz NOT NULL,
    metadata bytea NOT NULL,
    key_id text COLLATE "C" REFERENCES likeness.data_keys,
    terms bytea,
    collection text COLLATE "C" NOT NULL DEFAULT '',
    odd_name boolean NOT NULL DEFAULT true
) WITH ({VACUUM_SOON});
CREATE INDEX ON likeness.subjects (key_id);
CREATE INDEX ON likeness.subjects (collection, subject);
CREATE INDEX ON likeness.subjects (subject) WHERE odd_name;

-- A template's id names a photo of a subject; all bundles' templates of the photo share it. A
-- vector is stored once, in full precision and pgvector's binary format, encrypted or not.
CREATE TABLE likeness.templates (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    template_id text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL REFERENCES likeness.subjects,
    fingerprint text COLLATE "C" NOT NULL,
    image_sha256 text COLLATE "C" NOT NULL,
    quality text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    vector bytea NOT NULL,
    UNIQUE (template_id, fingerprint),
    UNIQUE (subject, image_sha256, fingerprint)
) WITH ({VACUUM_SOON});
ALTER TABLE likeness.templates ALTER COLUMN vector SET STORAGE EXTERNAL;
CREATE INDEX ON likeness.templates (expires_at) WHERE expires_at IS NOT NULL;

-- A photo is kept as long as a template of it. Photos are compressed already.
CREATE TABLE likeness.photos (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject text COLLATE "C" NOT NULL REFERENCES likeness.subjects,
    image_sha256 text COLLATE "C" NOT NULL,
    photo bytea NOT NULL,
    UNIQUE (subject, image_sha256)
) WITH ({VACUUM_SOON});
ALTER TABLE likeness.photos ALTER COLUMN photo SET STORAGE EXTERNAL;

-- Triggers keep the counts of each collection, because every answer of /identify contains the
-- gallery's size, and to count rows takes longer in a larger gallery. Counts have 64 rows, chosen
-- by subject, so that writers do not wait for each other.
CREATE TABLE likeness.counts (
    shard integer,
    subjects bigint NOT NULL DEFAULT 0,
    templates bigint NOT NULL DEFAULT 0,
    collection text COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (collection, shard)
) WITH (fillfactor = 10);
INSERT INTO likeness.counts (shard) SELECT generate_series(0, 63);

-- The search tables. Each collection and each bundle has its own, so that no query compares
-- vectors of two, and encrypted and clear vectors have separate ones. A search table has no foreign
-- key to `templates`: a deletion would have to look into every search table, and to drop one would
-- lock `templates`. The two names are those of a column `dimension`, which earlier releases knew;
-- it has another name so that a replica of theirs makes no table that this release searches.
CREATE TABLE likeness.spaces (
    space integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fingerprint text COLLATE "C" NOT NULL,
    vector_dimension integer CONSTRAINT spaces_dimension_not_null NOT NULL,
    key_id text COLLATE "C" REFERENCES likeness.data_keys,
    collection text COLLATE "C" NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX spaces_collection_fingerprint_dimension_expr_idx
    ON likeness.spaces (collection, fingerprint, vector_dimension, (key_id IS NULL));

-- The cohort that the search tables of a bundle were made for.
CREATE TABLE likeness.cohorts (
    fingerprint text COLLATE "C" PRIMARY KEY,
    digest text NOT NULL
);

-- The results of requests with an idempotency key, and the templates that each result names.
CREATE TABLE likeness.idempotency (
    key text COLLATE "C" PRIMARY KEY,
    request_sha256 text NOT NULL,
    outcome text NOT NULL,
    created_at timestamptz NOT NULL
) WITH ({VACUUM_SOON});
CREATE INDEX ON likeness.idempotency (created_at);
CREATE TABLE likeness.request_templates (
    template_id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL REFERENCES likeness.idempotency ON DELETE CASCADE,
    PRIMARY KEY (template_id, key)
) WITH ({VACUUM_SOON});
CREATE INDEX ON likeness.request_templates (key);

-- The bundle of the last switch.
CREATE TABLE likeness.switched (
    single boolean PRIMARY KEY CHECK (single),
    fingerprint text COLLATE "C" NOT NULL
);

-- API keys; `signing_key_id` names the secret of a key that signs.
CREATE TABLE likeness.keys (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key_id text COLLATE "C" NOT NULL UNIQUE,
    name text NOT NULL,
    scopes text[] NOT NULL,
    salt bytea NOT NULL,
    digest bytea NOT NULL,
    per_s double precision,
    at_once integer,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz,
    signing_key_id text COLLATE "C" REFERENCES likeness.data_keys
);

CREATE TABLE likeness.audit (
    number bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    action text NOT NULL,
    subject_sha256 text,
    key_id text,
    counts text NOT NULL,
    previous text NOT NULL,
    digest text NOT NULL
);
"""

_TRIGGERS = """
-- Count rows by collection and shard, always in one order, which prevents deadlocks.
CREATE FUNCTION likeness.count_subjects() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO likeness.counts AS held (collection, shard, subjects)
    SELECT each.collection, hashtextextended(subject, 0) & 63,
        sum(CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END)
    FROM (SELECT collection, subject FROM changed) AS each GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (collection, shard)
        DO UPDATE SET subjects = held.subjects + excluded.subjects;
    RETURN NULL;
END $$;
CREATE TRIGGER count_insert AFTER INSERT ON likeness.subjects
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION likeness.count_subjects();
CREATE TRIGGER count_delete AFTER DELETE ON likeness.subjects
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION likeness.count_subjects();

-- A subject is deleted after its templates. A subquery instead of a join: a session keeps its first
-- plan, and a plan for thousands of rows would read the whole table for each row.
CREATE FUNCTION likeness.count_templates() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO likeness.counts AS held (collection, shard, templates)
    SELECT (SELECT collection FROM likeness.subjects
            WHERE subjects.subject = each.subject), hashtextextended(subject, 0) & 63,
        sum(CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END)
    FROM (SELECT subject FROM changed) AS each GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (collection, shard)
        DO UPDATE SET templates = held.templates + excluded.templates;
    RETURN NULL;
END $$;
CREATE TRIGGER count_insert AFTER INSERT ON likeness.templates
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION likeness.count_templates();
CREATE TRIGGER count_delete AFTER DELETE ON likeness.templates
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION likeness.count_templates();

CREATE FUNCTION likeness.forget_photos() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM likeness.photos USING gone
    WHERE photos.subject = gone.subject AND photos.image_sha256 = gone.image_sha256
        AND NOT EXISTS (SELECT 1 FROM likeness.templates
            WHERE templates.subject = gone.subject
                AND templates.image_sha256 = gone.image_sha256);
    RETURN NULL;
END $$;
CREATE TRIGGER forget_photos AFTER DELETE ON likeness.templates
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION likeness.forget_photos();

-- Forget a result with any template that it names, in every kind of deletion.
CREATE FUNCTION likeness.forget_requests() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM likeness.idempotency WHERE key IN (
        SELECT key FROM likeness.request_templates JOIN gone USING (template_id)
        WHERE NOT EXISTS (SELECT 1 FROM likeness.templates
            WHERE templates.template_id = gone.template_id));
    RETURN NULL;
END $$;
CREATE TRIGGER forget_requests AFTER DELETE ON likeness.templates
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION likeness.forget_requests();

-- Delete the rows of templates from the search tables of their collection.
CREATE FUNCTION likeness.forget_rows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE space integer;
BEGIN
    FOR space IN
        SELECT DISTINCT spaces.space
        FROM (SELECT DISTINCT subject, fingerprint FROM gone) AS each
        JOIN likeness.spaces ON spaces.fingerprint = each.fingerprint
            AND spaces.collection = (SELECT collection FROM likeness.subjects
                WHERE subjects.subject = each.subject)
    LOOP
        EXECUTE format(
            'DELETE FROM likeness.search_%s AS held USING gone
                WHERE held.number = gone.number', space);
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER forget_rows AFTER DELETE ON likeness.templates
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION likeness.forget_rows();

CREATE FUNCTION likeness.drop_table() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP TABLE likeness.search_%s', OLD.space);
    RETURN NULL;
END $$;
CREATE TRIGGER drop_table AFTER DELETE ON likeness.spaces
    FOR EACH ROW EXECUTE FUNCTION likeness.drop_table();

CREATE FUNCTION likeness.destroy_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE likeness.data_keys SET master = NULL, wrapped = NULL
    FROM gone WHERE data_keys.key_id = gone.key_id;
    RETURN NULL;
END $$;
CREATE TRIGGER destroy_keys AFTER DELETE ON likeness.subjects
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION likeness.destroy_keys();
CREATE TRIGGER destroy_keys AFTER DELETE ON likeness.spaces
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION likeness.destroy_keys();
"""

NEAREST: Final = """
-- Search until the search may stop. How many rows of pgvector's graph it must read depends on the
-- probe. The nearest row found so far may not be the nearest of all. If one row is clearly nearest,
-- it is nearly always right; if all are equally near, as they are for an unknown person, often not.
-- So this reads the graph in batches of `hnsw.ef_search` rows and checks after each batch whether
-- to stop: if the nearest row is much nearer than the fortieth. The condition is weaker in later
-- batches. The constants are from tests/tools/bench/NOTES.md.
--
-- A search table holds each vector with one more number, minus half of its cohort mean. The query
-- is the probe and a 1: the inner product is the score plus half of the probe's cohort mean,
-- `common` (see `models.cohort`). The distance of a row is the score of the probe with itself minus
-- the score of the row. Without a cohort that is the cosine distance, for which the constants were
-- measured. With a cohort it differs by half the difference of the two cohort means.
--
-- A table's name cannot be a parameter of a statement, so the query is planned each time. Without
-- the limit the planner might sort all rows.
CREATE FUNCTION likeness.nearest(
    space integer, probe halfvec, common double precision, rows integer, besides text
) RETURNS SETOF bigint LANGUAGE plpgsql STABLE ROWS 40 AS $$
DECLARE
    batch CONSTANT integer := current_setting('hnsw.ef_search');
    excluded CONSTANT bigint[] := ARRAY(
        SELECT number FROM likeness.templates WHERE subject = besides
    );
    walk refcursor;
    step record;
    numbers bigint[] := '{}';
    distances double precision[] := '{}';
    walked integer := 0;
    stands_out boolean;
BEGIN
    OPEN walk NO SCROLL FOR EXECUTE format(
        'SELECT number, vector <#> $1 AS negated FROM likeness.search_%s
            ORDER BY negated LIMIT %s',
        space, greatest(4 * batch, rows + cardinality(excluded))
    ) USING probe;
    LOOP
        FETCH walk INTO step;
        EXIT WHEN NOT FOUND;
        walked := walked + 1;
        IF step.number <> ALL (excluded) THEN
            numbers := numbers || step.number;
            distances := distances || 1 - common + step.negated;
        END IF;
        IF walked % batch = 0 AND cardinality(numbers) >= rows THEN
            SELECT min(far)
                <= (0.70 + 0.05 * walked / batch) * (array_agg(far ORDER BY far))[40]
            INTO stands_out FROM unnest(distances) AS far;
            EXIT WHEN stands_out;
        END IF;
    END LOOP;
    CLOSE walk;
    RETURN QUERY SELECT each.number FROM unnest(numbers, distances) AS each (number, far)
        ORDER BY far LIMIT rows;
END $$;
"""

SCHEMA: Final = _TABLES + _TRIGGERS + NEAREST

"""The schema of a SQLite database, as a new database gets it.

A change of the schema is made twice: here, and as a step in `migrations` for existing databases.
"""

from typing import Final

VERSION: Final = 11

SCHEMA: Final = """
-- Values that may be encrypted are bytes, encrypted or not.

-- Keys of subjects and of API keys that sign, encrypted by a master key. The id of a destroyed key
-- stays. So after the restore of an old backup, today's keys show which subjects were erased
-- since, and a key that is merely missing is a different case.
CREATE TABLE data_keys (
    key_id TEXT PRIMARY KEY,
    master TEXT,
    wrapped BLOB,
    CHECK ((master IS NULL) = (wrapped IS NULL))
) WITHOUT ROWID;
CREATE INDEX data_keys_master ON data_keys (master);

-- Keys whose values are not bound to their place yet (see `unbound`).
CREATE TABLE unbound (key_id TEXT PRIMARY KEY) WITHOUT ROWID;

-- The default collection is named "" and has no row here.
CREATE TABLE collections (
    collection TEXT PRIMARY KEY,
    created_at TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE subjects (
    subject TEXT PRIMARY KEY,
    created_at TEXT NOT NULL,
    metadata TEXT NOT NULL,
    key_id TEXT REFERENCES data_keys (key_id),
    terms BLOB,
    collection TEXT NOT NULL DEFAULT '',
    odd_name INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX subjects_key_id ON subjects (key_id);
CREATE INDEX subjects_collection ON subjects (collection, subject);
-- Subjects whose name is not in today's form.
CREATE INDEX subjects_odd_name ON subjects (subject) WHERE odd_name;

CREATE TRIGGER destroy_key AFTER DELETE ON subjects WHEN OLD.key_id IS NOT NULL
BEGIN
    UPDATE data_keys SET master = NULL, wrapped = NULL WHERE key_id = OLD.key_id;
END;

-- A template's id names a photo of a subject; all bundles' templates of the photo share it. Rows
-- are only appended, by `number`, so that SQLite never copies a vector to another page, where a
-- deletion of the row would leave it.
CREATE TABLE templates (
    number INTEGER PRIMARY KEY,
    template_id TEXT NOT NULL,
    subject TEXT NOT NULL REFERENCES subjects (subject),
    fingerprint TEXT NOT NULL,
    image_sha256 TEXT NOT NULL,
    quality TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT,
    vector BLOB NOT NULL CHECK (length(vector) > 0 AND length(vector) % 4 = 0),
    UNIQUE (template_id, fingerprint),
    UNIQUE (subject, image_sha256, fingerprint)
);
CREATE INDEX templates_expires_at ON templates (expires_at) WHERE expires_at IS NOT NULL;

-- A photo is kept as long as a template of it.
CREATE TABLE photos (
    number INTEGER PRIMARY KEY,
    subject TEXT NOT NULL REFERENCES subjects (subject),
    image_sha256 TEXT NOT NULL,
    photo BLOB NOT NULL,
    UNIQUE (subject, image_sha256)
);
CREATE TRIGGER forget_photo AFTER DELETE ON templates
WHEN NOT EXISTS (SELECT 1 FROM templates
    WHERE subject = OLD.subject AND image_sha256 = OLD.image_sha256)
BEGIN
    DELETE FROM photos WHERE subject = OLD.subject AND image_sha256 = OLD.image_sha256;
END;

-- Triggers keep the counts of each collection, because every answer of /identify contains the
-- gallery's size, and to count a million rows takes longer than a search.
CREATE TABLE counts (
    subjects INTEGER NOT NULL,
    templates INTEGER NOT NULL,
    collection TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX counts_collection ON counts (collection);
INSERT INTO counts (subjects, templates, collection) VALUES (0, 0, '');
CREATE TRIGGER count_subjects_INSERT AFTER INSERT ON subjects
BEGIN
    UPDATE counts SET subjects = subjects + 1 WHERE collection = NEW.collection;
END;
CREATE TRIGGER count_subjects_DELETE AFTER DELETE ON subjects
BEGIN
    UPDATE counts SET subjects = subjects - 1 WHERE collection = OLD.collection;
END;
CREATE TRIGGER count_templates_INSERT AFTER INSERT ON templates
BEGIN
    UPDATE counts SET templates = templates + 1
    WHERE collection = (SELECT collection FROM subjects WHERE subject = NEW.subject);
END;
-- A subject is deleted after its templates.
CREATE TRIGGER count_templates_DELETE AFTER DELETE ON templates
BEGIN
    UPDATE counts SET templates = templates - 1
    WHERE collection = (SELECT collection FROM subjects WHERE subject = OLD.subject);
END;

-- The results of requests with an idempotency key, and the templates that each result names. A
-- trigger forgets a result with any of them, so that it happens in every kind of deletion.
CREATE TABLE idempotency (
    key TEXT PRIMARY KEY,
    request_sha256 TEXT NOT NULL,
    outcome TEXT NOT NULL,
    created_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX idempotency_created_at ON idempotency (created_at);
CREATE TABLE request_templates (
    template_id TEXT NOT NULL,
    key TEXT NOT NULL REFERENCES idempotency (key) ON DELETE CASCADE,
    PRIMARY KEY (template_id, key)
) WITHOUT ROWID;
CREATE INDEX request_templates_key ON request_templates (key);
CREATE TRIGGER forget_request AFTER DELETE ON templates
WHEN NOT EXISTS (SELECT 1 FROM templates WHERE template_id = OLD.template_id)
BEGIN
    DELETE FROM idempotency WHERE key IN
        (SELECT key FROM request_templates WHERE template_id = OLD.template_id);
END;

-- The bundle of the last switch.
CREATE TABLE switched (
    single INTEGER PRIMARY KEY CHECK (single = 1),
    fingerprint TEXT NOT NULL
);

-- API keys; `signing_key_id` names the secret of a key that signs.
CREATE TABLE keys (
    number INTEGER PRIMARY KEY,
    key_id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    salt BLOB NOT NULL,
    digest BLOB NOT NULL,
    per_s REAL,
    at_once INTEGER,
    created_at TEXT NOT NULL,
    revoked_at TEXT,
    signing_key_id TEXT REFERENCES data_keys (key_id)
);

CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    action TEXT NOT NULL,
    subject_sha256 TEXT,
    key_id TEXT,
    counts TEXT NOT NULL,
    previous TEXT NOT NULL,
    digest TEXT NOT NULL
);
"""

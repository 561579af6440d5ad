"""The tables of a spool, version by version."""

MIGRATIONS = (
    """
    CREATE TABLE films (
        digest TEXT PRIMARY KEY, received_at REAL NOT NULL, bytes INTEGER NOT NULL, sop_class TEXT NOT NULL,
        transfer_syntax TEXT NOT NULL, calling_ae TEXT NOT NULL, is_kept INTEGER NOT NULL DEFAULT 1
    ) WITHOUT ROWID;
    CREATE INDEX films_by_time ON films (received_at);
    CREATE TABLE bundles (digest TEXT PRIMARY KEY, about TEXT NOT NULL, first_at REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE answers (
        digest TEXT NOT NULL REFERENCES films ON DELETE CASCADE, role TEXT NOT NULL, bundle TEXT NOT NULL,
        state TEXT NOT NULL, attempts INTEGER NOT NULL, taken_at REAL NOT NULL, done_at REAL,
        code TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '', probabilities TEXT, evidence TEXT,
        remarks TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (digest, role)
    ) WITHOUT ROWID;
    CREATE INDEX answers_by_state ON answers (role, state);
    CREATE TABLE objects (
        uid TEXT PRIMARY KEY, digest TEXT NOT NULL REFERENCES films ON DELETE CASCADE, kind TEXT NOT NULL,
        sop_class TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX objects_by_film ON objects (digest);
    CREATE TABLE deliveries (
        uid TEXT NOT NULL REFERENCES objects ON DELETE CASCADE, destination TEXT NOT NULL, state TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, waiting_since REAL NOT NULL, next_at REAL NOT NULL, sent_at REAL,
        error TEXT NOT NULL DEFAULT '', PRIMARY KEY (uid, destination)
    ) WITHOUT ROWID;
    CREATE INDEX deliveries_by_state ON deliveries (destination, state, next_at);
    """,
    """
    CREATE TABLE parts (
        name TEXT PRIMARY KEY, state TEXT NOT NULL, code TEXT NOT NULL, text TEXT NOT NULL, since REAL NOT NULL,
        pid INTEGER NOT NULL, restarts INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
    "ALTER TABLE objects ADD COLUMN content_digest TEXT NOT NULL DEFAULT ''",
)
"""Schema by version: a spool of version n has had the first n; later versions are appended, and none is changed."""

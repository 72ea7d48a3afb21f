-- The audit log (docs/audit-log.md): a Merkle tree over the records, and one over what was signed of it.
ALTER TABLE audit_record ADD COLUMN leaf_hash BLOB;    -- of its bytes; none in records of before, until the next start
CREATE INDEX audit_record_without_hash ON audit_record (sequence) WHERE leaf_hash IS NULL;

-- The roots of full tiles. Append-only.
CREATE TABLE audit_node (
    log      TEXT NOT NULL,                    -- the replica, or root
    level    INTEGER NOT NULL,                 -- of tiles, from 1
    position INTEGER NOT NULL,                 -- within the level, from 0
    hash     BLOB NOT NULL,
    PRIMARY KEY (log, level, position)
) STRICT, WITHOUT ROWID;

-- The root log: what was signed, and who came and went. Append-only.
CREATE TABLE audit_root (
    position  INTEGER PRIMARY KEY NOT NULL,    -- from 0
    entry     BLOB NOT NULL,                   -- tollgate.v1.RootEntry
    leaf_hash BLOB NOT NULL
) STRICT;

-- What was signed last of each log.
CREATE TABLE audit_head (
    log    TEXT PRIMARY KEY NOT NULL,
    size   INTEGER NOT NULL,
    note   TEXT NOT NULL,                      -- a signed note
    closed INTEGER NOT NULL                    -- whether it grows no more
) STRICT;

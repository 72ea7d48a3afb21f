-- The audit log (docs/audit-log.md): a Merkle tree over the records of each replica, and one over what was signed of them.
ALTER TABLE audit_record ADD COLUMN leaf_hash bytea;   -- of its bytes; none in records of versions before
UPDATE audit_record SET leaf_hash = sha256('\x00'::bytea || record);

-- The roots of full tiles. Append-only.
CREATE TABLE audit_node (
    log      text   NOT NULL,                  -- the replica, or root
    level    int    NOT NULL,                  -- of tiles, from 1
    position bigint NOT NULL,                  -- within the level, from 0
    hash     bytea  NOT NULL,
    PRIMARY KEY (log, level, position)
);

-- The root log: what was signed, and who came and went. Append-only.
CREATE TABLE audit_root (
    position  bigint PRIMARY KEY,              -- from 0
    entry     bytea NOT NULL,                  -- tollgate.v1.RootEntry
    leaf_hash bytea NOT NULL
);

-- What was signed last of each log.
CREATE TABLE audit_head (
    log    text    PRIMARY KEY,
    size   bigint  NOT NULL,
    note   text    NOT NULL,                   -- a signed note
    closed boolean NOT NULL                    -- whether it grows no more
);

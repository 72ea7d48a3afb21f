-- Times are microseconds since the epoch, money is nano-dollars, ids are the contract's.

CREATE TABLE virtual_key (
    id                 TEXT PRIMARY KEY NOT NULL,
    display_name       TEXT NOT NULL,
    prefix             TEXT NOT NULL,
    role               INTEGER NOT NULL,
    state              INTEGER NOT NULL,
    models             TEXT NOT NULL,          -- JSON array
    default_output_cap INTEGER,
    metadata           TEXT NOT NULL,          -- JSON object
    create_time_us     INTEGER NOT NULL,
    update_time_us     INTEGER NOT NULL,
    expire_time_us     INTEGER,
    etag               TEXT NOT NULL,
    digest             BLOB NOT NULL UNIQUE,   -- HMAC-SHA-256 of the secret, which is kept nowhere
    old_digest         BLOB,
    old_until_us       INTEGER NOT NULL,
    request_id         TEXT NOT NULL
) STRICT;

CREATE TABLE budget (
    id              TEXT PRIMARY KEY NOT NULL,
    key_id          TEXT NOT NULL,
    limit_nano_usd  INTEGER NOT NULL,
    enforcement     INTEGER NOT NULL,
    spent_nano_usd  INTEGER NOT NULL,
    create_time_us  INTEGER NOT NULL,
    update_time_us  INTEGER NOT NULL,
    etag            TEXT NOT NULL
) STRICT;

-- Append-only: one row per attempt that a provider billed.
CREATE TABLE ledger_entry (
    sequence        INTEGER PRIMARY KEY NOT NULL,
    attempt_id      TEXT NOT NULL UNIQUE,
    call_id         TEXT NOT NULL,
    key_id          TEXT NOT NULL,
    model           TEXT NOT NULL,
    deployment      TEXT NOT NULL,
    provider        TEXT NOT NULL,
    kind            INTEGER NOT NULL,
    input_tokens    INTEGER NOT NULL,
    output_tokens   INTEGER NOT NULL,
    usage           BLOB NOT NULL,             -- tollgate.v1.Usage
    cost_nano_usd   INTEGER NOT NULL,
    held_nano_usd   INTEGER NOT NULL,
    low_nano_usd    INTEGER NOT NULL,
    high_nano_usd   INTEGER NOT NULL,
    price_version   TEXT NOT NULL,
    settle_time_us  INTEGER NOT NULL,
    outcome         TEXT NOT NULL,
    budget_ids      TEXT NOT NULL,             -- JSON array
    idempotency     BLOB,                      -- hash of virtual key and idempotency key
    fingerprint     BLOB                       -- hash of the request that came with it
) STRICT;

CREATE INDEX ledger_entry_by_key ON ledger_entry (key_id, sequence);
CREATE INDEX ledger_entry_by_call ON ledger_entry (call_id);
CREATE INDEX ledger_entry_by_time ON ledger_entry (settle_time_us);
CREATE INDEX ledger_entry_idempotent ON ledger_entry (settle_time_us) WHERE idempotency IS NOT NULL;

CREATE TRIGGER ledger_entry_is_never_changed BEFORE UPDATE ON ledger_entry
BEGIN SELECT RAISE(ABORT, 'ledger entries are append-only'); END;
CREATE TRIGGER ledger_entry_is_never_deleted BEFORE DELETE ON ledger_entry
BEGIN SELECT RAISE(ABORT, 'ledger entries are append-only'); END;

CREATE TABLE audit_record (
    sequence INTEGER PRIMARY KEY NOT NULL,
    time_us  INTEGER NOT NULL,
    action   TEXT NOT NULL,
    key_id   TEXT NOT NULL,
    call_id  TEXT NOT NULL,
    record   BLOB NOT NULL                     -- tollgate.v1.AuditRecord
) STRICT;

CREATE INDEX audit_record_by_time ON audit_record (time_us);
CREATE INDEX audit_record_by_key ON audit_record (key_id, sequence);
CREATE INDEX audit_record_by_call ON audit_record (call_id);

-- One row: the journal is applied through this sequence.
CREATE TABLE journal_position (
    only    INTEGER PRIMARY KEY CHECK (only = 1),
    applied INTEGER NOT NULL
) STRICT;
INSERT INTO journal_position (only, applied) VALUES (1, 0);

-- Times are microseconds since the epoch, money is nano-dollars, ids are the contract's.

-- What admins make. All of it lives in memory: it is put one by one and loaded as a whole.
CREATE TABLE object (
    kind    TEXT NOT NULL,                     -- key, organization, team, user, budget, adjustment
    id      TEXT NOT NULL,
    version INTEGER NOT NULL UNIQUE,           -- grows with every change of any object
    object  BLOB NOT NULL,                     -- of a key only keyed hashes of its secret
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- Append-only: one row per attempt that a provider billed.
CREATE TABLE ledger_entry (
    sequence        INTEGER PRIMARY KEY NOT NULL,
    attempt_id      TEXT NOT NULL UNIQUE,
    call_id         TEXT NOT NULL,
    key_id          TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    team_id         TEXT NOT NULL,
    user_id         TEXT NOT NULL,
    customer        TEXT NOT NULL,
    tags            TEXT NOT NULL,             -- JSON array
    model           TEXT NOT NULL,
    provider        TEXT NOT NULL,
    kind            INTEGER NOT NULL,
    input_tokens    INTEGER NOT NULL,
    output_tokens   INTEGER NOT NULL,
    cost_nano_usd   INTEGER NOT NULL,
    saved_nano_usd  INTEGER NOT NULL,
    settle_time_us  INTEGER NOT NULL,
    entry           BLOB NOT NULL,             -- tollgate.v1.LedgerEntry: all of it
    idempotency     BLOB,                      -- hash of virtual key and idempotency key
    fingerprint     BLOB                       -- hash of the request that came with it
) STRICT;

CREATE INDEX ledger_entry_by_key ON ledger_entry (key_id, sequence);
CREATE INDEX ledger_entry_by_team ON ledger_entry (team_id, sequence) WHERE team_id <> '';
CREATE INDEX ledger_entry_by_call ON ledger_entry (call_id);
CREATE INDEX ledger_entry_by_time ON ledger_entry (settle_time_us);
CREATE INDEX ledger_entry_idempotent ON ledger_entry (settle_time_us) WHERE idempotency IS NOT NULL;

CREATE TRIGGER ledger_entry_is_never_changed BEFORE UPDATE ON ledger_entry
BEGIN SELECT RAISE(ABORT, 'ledger entries are append-only'); END;
CREATE TRIGGER ledger_entry_is_never_deleted BEFORE DELETE ON ledger_entry
BEGIN SELECT RAISE(ABORT, 'ledger entries are append-only'); END;

-- Sums of the entries, moved in the transaction that appends them.
CREATE TABLE balance (
    budget_id      TEXT NOT NULL,
    window         INTEGER NOT NULL,
    spent_nano_usd INTEGER NOT NULL,
    PRIMARY KEY (budget_id, window)
) STRICT, WITHOUT ROWID;

CREATE TABLE spend_cell (
    day                INTEGER NOT NULL,       -- days since the epoch, UTC
    key_id             TEXT NOT NULL,
    organization_id    TEXT NOT NULL,
    team_id            TEXT NOT NULL,
    user_id            TEXT NOT NULL,
    model              TEXT NOT NULL,
    provider           TEXT NOT NULL,
    entries            INTEGER NOT NULL,
    cost_nano_usd      INTEGER NOT NULL,
    estimated_nano_usd INTEGER NOT NULL,
    input_tokens       INTEGER NOT NULL,
    output_tokens      INTEGER NOT NULL,
    saved_nano_usd     INTEGER NOT NULL,
    PRIMARY KEY (day, key_id, organization_id, team_id, user_id, model, provider)
) STRICT, WITHOUT ROWID;

CREATE INDEX spend_cell_by_key ON spend_cell (key_id, day);

CREATE TABLE spend_label (
    day                INTEGER NOT NULL,
    kind               TEXT NOT NULL,          -- tag, customer
    value              TEXT NOT NULL,
    key_id             TEXT NOT NULL,
    organization_id    TEXT NOT NULL,
    team_id            TEXT NOT NULL,
    user_id            TEXT NOT NULL,
    entries            INTEGER NOT NULL,
    cost_nano_usd      INTEGER NOT NULL,
    estimated_nano_usd INTEGER NOT NULL,
    input_tokens       INTEGER NOT NULL,
    output_tokens      INTEGER NOT NULL,
    saved_nano_usd     INTEGER NOT NULL,
    PRIMARY KEY (kind, day, value, key_id, organization_id, team_id, user_id)
) STRICT, WITHOUT ROWID;

-- One row for each budget, window and threshold: what makes an alert come once.
CREATE TABLE budget_alert (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    budget_id TEXT NOT NULL,
    window    INTEGER NOT NULL,
    percent   INTEGER NOT NULL,
    alert     BLOB NOT NULL,                   -- tollgate.v1.BudgetAlert
    UNIQUE (budget_id, window, percent)
) STRICT;

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

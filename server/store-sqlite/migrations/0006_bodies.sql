-- Bodies of calls, encrypted, and the keys that make them readable: what is erased is a key.
CREATE TABLE body_kek (
    id      TEXT NOT NULL PRIMARY KEY,
    tenant  TEXT NOT NULL,                     -- team, else organization; empty: neither
    subject TEXT NOT NULL,                     -- pseudonym
    month   INTEGER NOT NULL,                  -- year * 12 + month - 1
    wrapped BLOB NOT NULL,                     -- encrypted under the gateway's root
    UNIQUE (subject, tenant, month)
) STRICT;

CREATE INDEX body_kek_by_month ON body_kek (month);

CREATE TABLE audit_body (
    replica  TEXT NOT NULL,
    sequence INTEGER NOT NULL,                 -- of its audit record
    call_id  TEXT NOT NULL,
    kek_id   TEXT NOT NULL,
    sealed   BLOB,                             -- data key and bodies, encrypted; NULL: erased
    PRIMARY KEY (replica, sequence)
) STRICT;

CREATE INDEX audit_body_by_call ON audit_body (call_id);
CREATE INDEX audit_body_by_kek ON audit_body (kek_id);

CREATE TABLE body_hold (
    id          TEXT NOT NULL PRIMARY KEY,
    kind        TEXT NOT NULL,                 -- subject, tenant, call
    value       TEXT NOT NULL,                 -- pseudonym, tenant, call_id
    tenant      TEXT NOT NULL,                 -- of a subject: only there; empty: everywhere
    kek_id      TEXT NOT NULL,                 -- of a call: the key that its bodies hang on
    is_released INTEGER NOT NULL,
    hold        BLOB NOT NULL                  -- tollgate.v1.LegalHold
) STRICT;

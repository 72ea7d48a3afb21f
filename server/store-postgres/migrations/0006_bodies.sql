-- Bodies of calls, encrypted, and the keys that make them readable: what is erased is a key.
CREATE TABLE body_kek (
    id      text   NOT NULL PRIMARY KEY,
    tenant  text   NOT NULL,                   -- team, else organization; empty: neither
    subject text   NOT NULL,                   -- pseudonym
    month   bigint NOT NULL,                   -- year * 12 + month - 1
    wrapped bytea  NOT NULL,                   -- encrypted under the gateway's root
    UNIQUE (subject, tenant, month)
);

CREATE INDEX body_kek_by_month ON body_kek (month);

CREATE TABLE audit_body (
    replica  text   NOT NULL,
    sequence bigint NOT NULL,                  -- of its audit record
    call_id  text   NOT NULL,
    kek_id   text   NOT NULL,
    sealed   bytea,                            -- data key and bodies, encrypted; NULL: erased
    PRIMARY KEY (replica, sequence)
);

CREATE INDEX audit_body_by_call ON audit_body (call_id);
CREATE INDEX audit_body_by_kek ON audit_body (kek_id);

CREATE TABLE body_hold (
    id          text    COLLATE "C" NOT NULL PRIMARY KEY, -- compared byte by byte: in the order of time
    kind        text    NOT NULL,              -- subject, tenant, call
    value       text    NOT NULL,              -- pseudonym, tenant, call_id
    tenant      text    NOT NULL,              -- of a subject: only there; empty: everywhere
    kek_id      text    NOT NULL,              -- of a call: the key that its bodies hang on
    is_released boolean NOT NULL,
    hold        bytea   NOT NULL               -- tollgate.v1.LegalHold
);

-- Files at providers and the batches that read them: where each is, and whose.
CREATE TABLE file (
    key_id  text  NOT NULL,
    id      text  COLLATE "C" NOT NULL,        -- compared byte by byte: in the order of time
    purpose text  NOT NULL,
    stored  bytea NOT NULL,                    -- StoredFile
    PRIMARY KEY (key_id, id)
);

CREATE TABLE batch (
    id               text    COLLATE "C" NOT NULL PRIMARY KEY,
    key_id           text    NOT NULL,
    settled          boolean NOT NULL,         -- whether its charge is corrected to what it cost
    look_us          bigint  NOT NULL,         -- not before then it is looked at again
    claimed_until_us bigint  NOT NULL,         -- until then one replica looks at it
    stored           bytea   NOT NULL          -- StoredBatch
);

CREATE INDEX batch_by_key ON batch (key_id, id);
CREATE INDEX batch_to_look_at ON batch (look_us) WHERE NOT settled;

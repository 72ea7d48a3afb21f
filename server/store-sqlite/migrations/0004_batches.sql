-- Files at providers and the batches that read them: where each is, and whose.
CREATE TABLE file (
    key_id  TEXT NOT NULL,
    id      TEXT NOT NULL,
    purpose TEXT NOT NULL,
    stored  BLOB NOT NULL,                     -- StoredFile
    PRIMARY KEY (key_id, id)
) STRICT;

CREATE TABLE batch (
    id               TEXT NOT NULL PRIMARY KEY,
    key_id           TEXT NOT NULL,
    settled          INTEGER NOT NULL,         -- whether its charge is corrected to what it cost
    look_us          INTEGER NOT NULL,         -- not before then it is looked at again
    claimed_until_us INTEGER NOT NULL,         -- until then one replica looks at it
    stored           BLOB NOT NULL             -- StoredBatch
) STRICT;

CREATE INDEX batch_by_key ON batch (key_id, id);
CREATE INDEX batch_to_look_at ON batch (look_us) WHERE settled = 0;

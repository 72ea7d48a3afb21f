-- Conversations that are gone on from: what keys asked to be kept, each for itself and for a time.
CREATE TABLE response (
    key_id         TEXT NOT NULL,
    id             TEXT NOT NULL,
    previous_id    TEXT NOT NULL,              -- of the same key; empty: none
    expire_time_us INTEGER NOT NULL,
    bytes          INTEGER NOT NULL,           -- of the response
    response       BLOB NOT NULL,              -- tollgate.v1.StoredResponse
    PRIMARY KEY (key_id, id)
) STRICT;

CREATE INDEX response_by_end ON response (expire_time_us);

-- Conversations that are gone on from: what keys asked to be kept, each for itself and for a time.
CREATE TABLE response (
    key_id         text   NOT NULL,
    id             text   NOT NULL,
    previous_id    text   NOT NULL,            -- of the same key; empty: none
    expire_time_us bigint NOT NULL,
    bytes          bigint NOT NULL,            -- of the response
    response       bytea  NOT NULL,            -- tollgate.v1.StoredResponse
    PRIMARY KEY (key_id, id)
);

CREATE INDEX response_by_end ON response (expire_time_us);

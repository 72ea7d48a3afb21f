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

-- By which items of its answer a response is found.
CREATE TABLE response_item (
    key_id      text NOT NULL,
    item_id     text NOT NULL,
    response_id text NOT NULL,
    PRIMARY KEY (key_id, item_id, response_id),
    FOREIGN KEY (key_id, response_id) REFERENCES response (key_id, id) ON DELETE CASCADE
);

CREATE INDEX response_item_by_response ON response_item (key_id, response_id);

-- Responses that are made in the background, for as long as their makers are heard of.
ALTER TABLE response ADD COLUMN lease_us BIGINT;                             -- 0: it has ended; -1: it is lost; NULL: kept when complete
ALTER TABLE response ADD COLUMN is_cancelled INTEGER NOT NULL DEFAULT 0;

-- Their events, by steps.
CREATE TABLE response_event (
    key_id        TEXT NOT NULL,
    response_id   TEXT NOT NULL,
    last_sequence BIGINT NOT NULL,             -- of the last event of the step
    events        BYTEA NOT NULL,               -- tollgate.v1.ListResponseEventsResponse
    PRIMARY KEY (key_id, response_id, last_sequence),
    FOREIGN KEY (key_id, response_id) REFERENCES response (key_id, id) ON DELETE CASCADE
);

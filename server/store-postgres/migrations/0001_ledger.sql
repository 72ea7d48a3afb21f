-- Times are microseconds since the epoch, money is nano-dollars, ids are the contract's.

-- What admins make. All of it lives in the memory of every replica: it is put one by one and loaded as a whole.
CREATE TABLE object (
    kind    text   NOT NULL,                   -- key, organization, team, user, budget, adjustment
    id      text   NOT NULL,
    version bigint NOT NULL UNIQUE,            -- grows with every change of any object
    object  bytea  NOT NULL,                   -- of a key only keyed hashes of its secret
    PRIMARY KEY (kind, id)
);

-- Append-only: one row per attempt that a provider billed.
CREATE TABLE ledger_entry (
    position        bigint GENERATED ALWAYS AS IDENTITY,
    attempt_id      text   PRIMARY KEY,
    call_id         text   NOT NULL,
    key_id          text   NOT NULL,
    organization_id text   NOT NULL,
    team_id         text   NOT NULL,
    user_id         text   NOT NULL,
    customer        text   NOT NULL,
    tags            text   NOT NULL,           -- JSON array
    model           text   NOT NULL,
    provider        text   NOT NULL,
    kind            int    NOT NULL,
    input_tokens    bigint NOT NULL,
    output_tokens   bigint NOT NULL,
    cost_nano_usd   bigint NOT NULL,
    saved_nano_usd  bigint NOT NULL,
    settle_time_us  bigint NOT NULL,
    replica         text   NOT NULL,
    sequence        bigint NOT NULL,           -- in the journal of its replica
    entry           bytea  NOT NULL,           -- tollgate.v1.LedgerEntry: all of it
    idempotency     bytea,                     -- hash of virtual key and idempotency key
    fingerprint     bytea,                     -- hash of the request that came with it
    xid             xid8 NOT NULL DEFAULT pg_current_xact_id()   -- who follows passes over nothing that is being written
);

CREATE UNIQUE INDEX ledger_entry_by_position ON ledger_entry (position);
CREATE INDEX ledger_entry_by_key ON ledger_entry (key_id, position);
CREATE INDEX ledger_entry_by_call ON ledger_entry (call_id);
CREATE INDEX ledger_entry_by_time ON ledger_entry USING brin (settle_time_us) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX ledger_entry_by_replica ON ledger_entry (replica, sequence);
CREATE INDEX ledger_entry_idempotent ON ledger_entry (settle_time_us) WHERE idempotency IS NOT NULL;

CREATE FUNCTION ledger_entry_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'ledger entries are append-only';
END $$;
CREATE TRIGGER ledger_entry_is_never_changed BEFORE UPDATE OR DELETE ON ledger_entry
    FOR EACH ROW EXECUTE FUNCTION ledger_entry_is_append_only();

-- Sums of the entries, moved in the transaction that appends them, again and again: room in each page lets PostgreSQL reuse the old versions there (heap-only tuples), so that sums
-- over a table do not read what is dead.
CREATE TABLE balance (
    budget_id      text   NOT NULL,
    "window"       bigint NOT NULL,
    spent_nano_usd bigint NOT NULL,
    PRIMARY KEY (budget_id, "window")
) WITH (fillfactor = 50);

CREATE TABLE spend_cell (
    day                bigint NOT NULL,        -- days since the epoch, UTC
    key_id             text   NOT NULL,
    organization_id    text   NOT NULL,
    team_id            text   NOT NULL,
    user_id            text   NOT NULL,
    model              text   NOT NULL,
    provider           text   NOT NULL,
    entries            bigint NOT NULL,
    cost_nano_usd      bigint NOT NULL,
    estimated_nano_usd bigint NOT NULL,
    input_tokens       bigint NOT NULL,
    output_tokens      bigint NOT NULL,
    saved_nano_usd     bigint NOT NULL,
    PRIMARY KEY (day, key_id, organization_id, team_id, user_id, model, provider)
) WITH (fillfactor = 50);
CREATE INDEX spend_cell_by_key ON spend_cell (key_id, day);

CREATE TABLE spend_label (
    day                bigint NOT NULL,
    kind               text   NOT NULL,        -- tag, customer
    value              text   NOT NULL,
    key_id             text   NOT NULL,
    organization_id    text   NOT NULL,
    team_id            text   NOT NULL,
    user_id            text   NOT NULL,
    entries            bigint NOT NULL,
    cost_nano_usd      bigint NOT NULL,
    estimated_nano_usd bigint NOT NULL,
    input_tokens       bigint NOT NULL,
    output_tokens      bigint NOT NULL,
    saved_nano_usd     bigint NOT NULL,
    PRIMARY KEY (kind, day, value, key_id, organization_id, team_id, user_id)
) WITH (fillfactor = 50);

-- One row for each budget, window and threshold: what makes an alert come once.
CREATE TABLE budget_alert (
    position  bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    budget_id text   NOT NULL,
    "window"  bigint NOT NULL,
    percent   int    NOT NULL,
    alert     bytea  NOT NULL,                 -- tollgate.v1.BudgetAlert
    xid       xid8   NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (budget_id, "window", percent)
);

CREATE TABLE audit_record (
    position bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    replica  text   NOT NULL,
    sequence bigint NOT NULL,
    time_us  bigint NOT NULL,
    action   text   NOT NULL,
    key_id   text   NOT NULL,
    call_id  text   NOT NULL,
    record   bytea  NOT NULL,                  -- tollgate.v1.AuditRecord
    PRIMARY KEY (replica, sequence)
);
CREATE INDEX audit_record_by_time ON audit_record (time_us);
CREATE INDEX audit_record_by_call ON audit_record (call_id);

-- Who is there.
CREATE TABLE replica (
    id          text PRIMARY KEY,
    incarnation bigint NOT NULL,               -- of the process that may write as this replica: any other is fenced off
    generation  bigint NOT NULL DEFAULT 0,     -- of its last statement of leases: requests of before, however late they arrive, count no more
    applied     bigint NOT NULL,               -- its journal is applied through this sequence
    epoch       bigint NOT NULL,               -- the last that it registered in
    sees_redis  boolean NOT NULL,
    seen_time   timestamptz NOT NULL
) WITH (fillfactor = 50);

-- One row: which coordinator hands out leases.
CREATE TABLE epoch (
    row_no int PRIMARY KEY CHECK (row_no = 1),
    number bigint  NOT NULL,
    redis  boolean NOT NULL,
    "open" boolean NOT NULL
) WITH (fillfactor = 50);
INSERT INTO epoch VALUES (1, 0, false, false);

-- Headroom that replicas have taken: authoritative while PostgreSQL hands it out, else as each replica last told.
CREATE TABLE lease (
    budget_id            text   NOT NULL,
    "window"             bigint NOT NULL,
    replica              text   NOT NULL,
    outstanding_nano_usd bigint NOT NULL,
    PRIMARY KEY (budget_id, "window", replica)
) WITH (fillfactor = 50);
CREATE INDEX lease_by_replica ON lease (replica);

-- A row to lock: who grants or uses leases of a budget and window does so alone.
CREATE TABLE lease_lock (
    budget_id text   NOT NULL,
    "window"  bigint NOT NULL,
    PRIMARY KEY (budget_id, "window")
);

-- Replicas are asked to give back what they do not use.
CREATE TABLE recall (
    budget_id   text PRIMARY KEY,
    recall_time timestamptz NOT NULL
);

-- Idempotency keys of calls in flight and answered, so that a repetition at another replica is known.
CREATE TABLE idempotency_claim (
    key         bytea PRIMARY KEY,
    fingerprint bytea NOT NULL,
    call_id     text  NOT NULL,
    expire_time timestamptz NOT NULL
);

-- Locks the budgets of a batch or of a request, always in the same order.
CREATE FUNCTION lock_leases(budgets text[], windows bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO lease_lock SELECT b, w FROM unnest(budgets, windows) AS wanted (b, w) ORDER BY b, w ON CONFLICT DO NOTHING;
    PERFORM 1 FROM lease_lock AS l JOIN unnest(budgets, windows) AS wanted (b, w) ON l.budget_id = b AND l."window" = w
        ORDER BY l.budget_id, l."window" FOR UPDATE OF l;
END $$;

-- Grants all wants or none. `denied` is -1, or the index of the want that has no room, with what was posted and leased.
CREATE FUNCTION grant_leases(
    of_replica text, of_generation bigint, in_epoch bigint, budgets text[], windows bigint[], from_windows bigint[], limits bigint[], mins bigint[],
    maxs bigint[], neededs bigint[],
    OUT denied int, OUT posted bigint, OUT leased bigint, OUT grants bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    available numeric;
    base numeric;
    share int;
BEGIN
    denied := -1;
    grants := '{}';
    PERFORM 1 FROM epoch WHERE number = in_epoch AND "open" AND NOT redis;
    IF NOT FOUND THEN
        denied := -2;
        RETURN;
    END IF;
    PERFORM 1 FROM replica WHERE id = of_replica AND generation = of_generation FOR SHARE;
    IF NOT FOUND THEN
        denied := -2;
        RETURN;
    END IF;
    SELECT greatest(count(*), 1) * 4 INTO share FROM replica WHERE seen_time > clock_timestamp() - interval '10 seconds';
    PERFORM lock_leases(budgets, windows);
    FOR i IN 1 .. cardinality(budgets) LOOP
        SELECT coalesce(sum(spent_nano_usd), 0) INTO posted FROM balance
            WHERE budget_id = budgets[i] AND "window" >= from_windows[i];
        SELECT coalesce(sum(outstanding_nano_usd), 0) INTO leased FROM lease
            WHERE budget_id = budgets[i] AND "window" = windows[i];
        available := limits[i]::numeric - posted - leased;
        IF available < mins[i] THEN
            denied := i - 1;
            RETURN;
        END IF;
        base := least(available, neededs[i]);
        -- Ahead of need only out of plenty, so that what is stranded at others never refuses a call that fits.
        IF available - base > 4::numeric * share * neededs[i] THEN
            base := base + least(maxs[i] - base, floor((available - base) / share));
        END IF;
        grants := grants || greatest(base, mins[i], 0)::bigint;
    END LOOP;
    INSERT INTO lease SELECT b, w, of_replica, g FROM unnest(budgets, windows, grants) AS granted (b, w, g)
        ON CONFLICT (budget_id, "window", replica)
        DO UPDATE SET outstanding_nano_usd = lease.outstanding_nano_usd + excluded.outstanding_nano_usd;
END $$;

-- Which instance polls which partition of the fleet (docs/decisions/0008).

-- One row per run of an instance with the role poller. It holds its partitions for as long as "heartbeat_at" is recent;
-- "heard_since" is since when it was recent without a gap, for only who has itself been heard may declare another dead.
-- "name" is the same after a restart, which takes over at once what the run before it held.
CREATE TABLE pollers (
    run TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    heartbeat_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    heard_since TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    leaving BOOLEAN NOT NULL DEFAULT FALSE
)
-- Updated once a second: in place, without a new entry in the index.
WITH (fillfactor = 50);

CREATE TABLE poll_partitions (
    partition SMALLINT PRIMARY KEY,
    holder TEXT REFERENCES pollers (run) ON DELETE SET NULL,
    held_since TIMESTAMPTZ
);

-- As many as messages of the queue are spread over.
INSERT INTO poll_partitions (partition) SELECT generate_series(0, 63);

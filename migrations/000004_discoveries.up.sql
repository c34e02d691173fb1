-- Discoveries: from a subnet to identified Windows machines.

-- One row per POST /devices/discover. "targets" is canonical text, "subnet" what was given; "options" holds what else was
-- asked for, "requested_by" who asked, for the audit of the devices that come of it. The instance that runs it holds it by "worker" for as long as "heartbeat_at" is recent; "checkpoint" is where the next one goes on.
-- "published_at" and "publications" tell when its message is overdue, "attempts" how often it was taken up without
-- getting on.
CREATE TABLE discoveries (
    id SERIAL PRIMARY KEY,
    targets TEXT NOT NULL,
    subnet TEXT NOT NULL,
    requested_by JSONB NOT NULL,
    status VARCHAR(20) NOT NULL DEFAULT 'queued',
    options JSONB NOT NULL DEFAULT '{}',
    total INTEGER NOT NULL,
    scanned INTEGER NOT NULL DEFAULT 0,
    counts JSONB NOT NULL DEFAULT '{}',
    checkpoint JSONB NOT NULL DEFAULT '{"index": 0, "counts": {}}',
    rate DOUBLE PRECISION,
    eta_seconds DOUBLE PRECISION,
    error TEXT,
    worker TEXT,
    heartbeat_at TIMESTAMPTZ,
    attempts INTEGER NOT NULL DEFAULT 0,
    published_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    publications INTEGER NOT NULL DEFAULT 1,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    started_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),

    CONSTRAINT valid_discovery_status CHECK (status IN ('queued', 'running', 'completed', 'cancelled', 'failed')),
    CONSTRAINT valid_discovery_progress CHECK (total > 0 AND scanned BETWEEN 0 AND total)
) WITH (fillfactor = 70);
-- One at a time per set of addresses. A hash, because a list of targets may be longer than an index takes.
CREATE UNIQUE INDEX discoveries_active ON discoveries (md5(targets)) WHERE status IN ('queued', 'running');
CREATE INDEX discoveries_finished ON discoveries (finished_at) WHERE finished_at IS NOT NULL;

-- What answered as a Windows machine, and by which evidence. "host" is everything known of it, "hostname" what of it may
-- stand in the device's row; "is_new" tells that the device was inserted by this discovery.
CREATE TABLE discovery_hosts (
    discovery_id INTEGER NOT NULL REFERENCES discoveries(id) ON DELETE CASCADE,
    ip VARCHAR(45) NOT NULL,
    outcome VARCHAR(20) NOT NULL,
    device_id INTEGER REFERENCES devices(id) ON DELETE SET NULL,
    credential_id INTEGER REFERENCES credentials(id) ON DELETE SET NULL,
    is_new BOOLEAN NOT NULL,
    hostname VARCHAR(255),
    os VARCHAR(255),
    host JSONB NOT NULL,
    evidence JSONB NOT NULL,
    found_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    PRIMARY KEY (discovery_id, ip)
);
CREATE INDEX discovery_hosts_device ON discovery_hosts (device_id, discovery_id DESC);
CREATE INDEX discovery_hosts_credential ON discovery_hosts (credential_id);

-- The schema of the specification (section 5.2), as written there.

-- Users
CREATE TABLE users (
    id SERIAL PRIMARY KEY,
    username VARCHAR(255) UNIQUE NOT NULL,
    password_hash VARCHAR(255) NOT NULL,
    role VARCHAR(50) NOT NULL DEFAULT 'operator',
    created_at TIMESTAMPTZ DEFAULT NOW(),
    updated_at TIMESTAMPTZ DEFAULT NOW()
);

-- Refresh Tokens
CREATE TABLE refresh_tokens (
    id SERIAL PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    token_hash VARCHAR(255) UNIQUE NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    created_at TIMESTAMPTZ DEFAULT NOW()
);

-- Credentials
CREATE TABLE credentials (
    id SERIAL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    credential_type VARCHAR(50) NOT NULL,  -- wmi, winrm_basic, winrm_ntlm
    username VARCHAR(255) NOT NULL,
    encrypted_password TEXT NOT NULL,
    domain VARCHAR(255),
    port INTEGER,
    use_ssl BOOLEAN DEFAULT FALSE,
    created_at TIMESTAMPTZ DEFAULT NOW(),
    updated_at TIMESTAMPTZ DEFAULT NOW(),

    CONSTRAINT valid_cred_type CHECK (credential_type IN ('wmi', 'winrm_basic', 'winrm_ntlm'))
);

-- Devices
CREATE TABLE devices (
    id SERIAL PRIMARY KEY,
    ip VARCHAR(45) UNIQUE NOT NULL,
    hostname VARCHAR(255),
    os VARCHAR(255),
    status VARCHAR(50) DEFAULT 'discovered',
    polling_interval INTEGER DEFAULT 60,
    last_seen TIMESTAMPTZ,
    created_at TIMESTAMPTZ DEFAULT NOW(),
    updated_at TIMESTAMPTZ DEFAULT NOW(),

    CONSTRAINT valid_status CHECK (status IN ('discovered', 'provisioned', 'monitoring', 'unreachable'))
);

-- Device-Credential Association
CREATE TABLE device_credentials (
    id SERIAL PRIMARY KEY,
    device_id INTEGER NOT NULL REFERENCES devices(id) ON DELETE CASCADE,
    credential_id INTEGER NOT NULL REFERENCES credentials(id) ON DELETE CASCADE,
    priority INTEGER DEFAULT 1,
    is_active BOOLEAN DEFAULT TRUE,
    last_success TIMESTAMPTZ,
    created_at TIMESTAMPTZ DEFAULT NOW(),

    UNIQUE(device_id, credential_id)
);

-- Unified Metrics Table (partitioned) - All values are system-wide aggregates
CREATE TABLE metrics (
    id BIGSERIAL,
    device_id INTEGER NOT NULL,
    timestamp TIMESTAMPTZ NOT NULL DEFAULT NOW(),

    -- CPU (system-wide)
    cpu_usage_percent NUMERIC(5,2),

    -- Memory (system-wide)
    memory_total_bytes BIGINT,
    memory_used_bytes BIGINT,
    memory_usage_percent NUMERIC(5,2),

    -- Disk (all drives combined)
    disk_total_bytes BIGINT,
    disk_used_bytes BIGINT,
    disk_usage_percent NUMERIC(5,2),

    -- Network (all interfaces combined)
    net_bytes_sent_per_sec BIGINT,
    net_bytes_recv_per_sec BIGINT,
    net_utilization_percent NUMERIC(5,2),
    net_packets_sent BIGINT,
    net_packets_recv BIGINT,
    net_errors BIGINT,
    net_dropped BIGINT,

    -- Process count
    process_count INTEGER,

    -- Collection metadata
    collection_duration_ms INTEGER,

    PRIMARY KEY (id, timestamp),
    FOREIGN KEY (device_id) REFERENCES devices(id) ON DELETE CASCADE
) PARTITION BY RANGE (timestamp);

-- Indexes
CREATE INDEX idx_users_username ON users(username);
CREATE INDEX idx_refresh_tokens_hash ON refresh_tokens(token_hash);
CREATE INDEX idx_devices_ip ON devices(ip);
CREATE INDEX idx_devices_status ON devices(status);
CREATE INDEX idx_device_creds_device ON device_credentials(device_id);
CREATE INDEX idx_metrics_device_time ON metrics(device_id, timestamp DESC);

-- ---------------------------------------------------------------------------------------------------------------------
-- Additions to the specification's schema.
-- ---------------------------------------------------------------------------------------------------------------------

-- Users: names compare without case.
ALTER TABLE users
    ADD CONSTRAINT valid_role CHECK (role IN ('admin', 'operator', 'viewer')),
    ALTER COLUMN created_at SET NOT NULL,
    ALTER COLUMN updated_at SET NOT NULL;
CREATE UNIQUE INDEX users_username_lower ON users (lower(username));

-- Sessions: a session is a family of refresh tokens, of which only the one that was not rotated is good.
CREATE TABLE sessions (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    expires_at TIMESTAMPTZ NOT NULL,
    revoked_at TIMESTAMPTZ
);
CREATE INDEX sessions_user ON sessions (user_id);
ALTER TABLE refresh_tokens
    ADD COLUMN session_id UUID REFERENCES sessions(id) ON DELETE CASCADE,
    ADD COLUMN rotated_at TIMESTAMPTZ;
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_user ON refresh_tokens (user_id);

-- Credentials: names compare without case; the key's id is the second part of the ciphertext's text.
ALTER TABLE credentials
    ADD COLUMN key_id TEXT GENERATED ALWAYS AS (split_part(encrypted_password, ':', 2)) STORED,
    ADD COLUMN tls_verify VARCHAR(10) NOT NULL DEFAULT 'full',
    ADD COLUMN allow_unencrypted_basic BOOLEAN NOT NULL DEFAULT FALSE,
    ADD COLUMN allowed_targets CIDR[] NOT NULL DEFAULT '{}',
    ADD COLUMN status VARCHAR(20) NOT NULL DEFAULT 'active',
    ADD COLUMN suspended_at TIMESTAMPTZ,
    ADD CONSTRAINT valid_tls_verify CHECK (tls_verify IN ('full', 'chain', 'none')),
    ADD CONSTRAINT valid_credential_status CHECK (status IN ('active', 'suspended')),
    ADD CONSTRAINT valid_port CHECK (port BETWEEN 1 AND 65535),
    ALTER COLUMN use_ssl SET NOT NULL,
    ALTER COLUMN created_at SET NOT NULL,
    ALTER COLUMN updated_at SET NOT NULL;
CREATE UNIQUE INDEX credentials_name_lower ON credentials (lower(name));

-- Devices: what polls found out. Every poll updates the row, so pages keep room for that.
ALTER TABLE devices
    ADD COLUMN build VARCHAR(50),
    ADD COLUMN last_error_code VARCHAR(50),
    ADD COLUMN last_error_message TEXT,
    ADD COLUMN last_error_at TIMESTAMPTZ,
    ADD COLUMN consecutive_failures INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN last_result_at TIMESTAMPTZ,
    ADD CONSTRAINT valid_polling_interval CHECK (polling_interval BETWEEN 5 AND 86400),
    ALTER COLUMN status SET NOT NULL,
    ALTER COLUMN polling_interval SET NOT NULL,
    ALTER COLUMN created_at SET NOT NULL,
    ALTER COLUMN updated_at SET NOT NULL,
    SET (fillfactor = 70);

-- Device-credential association: every good poll may update the row.
ALTER TABLE device_credentials
    ALTER COLUMN priority SET NOT NULL,
    ALTER COLUMN is_active SET NOT NULL,
    ALTER COLUMN created_at SET NOT NULL,
    SET (fillfactor = 70);
CREATE INDEX device_credentials_credential ON device_credentials (credential_id);

-- The lockout guard's memory: hosts that refused a credential. Apart from devices and their credentials, so that it
-- outlives deprovisioning and deleting a device: the account that would be locked outlives them too.
-- "failed_since_success" marks the hosts on which the credential failed since it last succeeded anywhere.
CREATE TABLE sign_in_failures (
    credential_id INTEGER NOT NULL REFERENCES credentials(id) ON DELETE CASCADE,
    ip VARCHAR(45) NOT NULL,
    failures INTEGER NOT NULL,
    failed_since_success BOOLEAN NOT NULL,
    last_failure_at TIMESTAMPTZ NOT NULL,
    suspended_at TIMESTAMPTZ,
    PRIMARY KEY (credential_id, ip)
);

-- Metrics: the poll job that a row came from; a job gives at most one row.
ALTER TABLE metrics ADD COLUMN job_id UUID;

-- Jobs whose result was stored; the storage writer prunes them.
CREATE TABLE processed_jobs (
    job_id UUID PRIMARY KEY,
    processed_at TIMESTAMPTZ NOT NULL DEFAULT NOW()
);
CREATE INDEX processed_jobs_processed_at ON processed_jobs USING brin (processed_at);

-- Facts about this database, such as the master key's check value.
CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW()
);

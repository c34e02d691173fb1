-- Hourly roll-up of metrics, for histories over long ranges (docs/decisions/0007-history-roll-up.md).

-- One row per device and hour that has rows of metrics: per column the number of values that are not null, their exact
-- sum, the smallest and the largest. Columns of eight bytes first, then those of four: no padding between them.
CREATE TABLE metrics_hourly (
    device_id INTEGER NOT NULL REFERENCES devices(id) ON DELETE CASCADE,
    row_count INTEGER NOT NULL,
    hour TIMESTAMPTZ NOT NULL,
    memory_total_bytes_min BIGINT,
    memory_total_bytes_max BIGINT,
    memory_used_bytes_min BIGINT,
    memory_used_bytes_max BIGINT,
    disk_total_bytes_min BIGINT,
    disk_total_bytes_max BIGINT,
    disk_used_bytes_min BIGINT,
    disk_used_bytes_max BIGINT,
    net_bytes_sent_per_sec_min BIGINT,
    net_bytes_sent_per_sec_max BIGINT,
    net_bytes_recv_per_sec_min BIGINT,
    net_bytes_recv_per_sec_max BIGINT,
    net_packets_sent_min BIGINT,
    net_packets_sent_max BIGINT,
    net_packets_recv_min BIGINT,
    net_packets_recv_max BIGINT,
    net_errors_min BIGINT,
    net_errors_max BIGINT,
    net_dropped_min BIGINT,
    net_dropped_max BIGINT,
    process_count_min INTEGER,
    process_count_max INTEGER,
    cpu_usage_percent_count INTEGER NOT NULL,
    memory_total_bytes_count INTEGER NOT NULL,
    memory_used_bytes_count INTEGER NOT NULL,
    memory_usage_percent_count INTEGER NOT NULL,
    disk_total_bytes_count INTEGER NOT NULL,
    disk_used_bytes_count INTEGER NOT NULL,
    disk_usage_percent_count INTEGER NOT NULL,
    net_bytes_sent_per_sec_count INTEGER NOT NULL,
    net_bytes_recv_per_sec_count INTEGER NOT NULL,
    net_utilization_percent_count INTEGER NOT NULL,
    net_packets_sent_count INTEGER NOT NULL,
    net_packets_recv_count INTEGER NOT NULL,
    net_errors_count INTEGER NOT NULL,
    net_dropped_count INTEGER NOT NULL,
    process_count_count INTEGER NOT NULL,
    cpu_usage_percent_min NUMERIC(5,2),
    cpu_usage_percent_max NUMERIC(5,2),
    memory_usage_percent_min NUMERIC(5,2),
    memory_usage_percent_max NUMERIC(5,2),
    disk_usage_percent_min NUMERIC(5,2),
    disk_usage_percent_max NUMERIC(5,2),
    net_utilization_percent_min NUMERIC(5,2),
    net_utilization_percent_max NUMERIC(5,2),
    cpu_usage_percent_sum NUMERIC,
    memory_total_bytes_sum NUMERIC,
    memory_used_bytes_sum NUMERIC,
    memory_usage_percent_sum NUMERIC,
    disk_total_bytes_sum NUMERIC,
    disk_used_bytes_sum NUMERIC,
    disk_usage_percent_sum NUMERIC,
    net_bytes_sent_per_sec_sum NUMERIC,
    net_bytes_recv_per_sec_sum NUMERIC,
    net_utilization_percent_sum NUMERIC,
    net_packets_sent_sum NUMERIC,
    net_packets_recv_sum NUMERIC,
    net_errors_sum NUMERIC,
    net_dropped_sum NUMERIC,
    process_count_sum NUMERIC,
    PRIMARY KEY (device_id, hour)
);

-- Which hours of which devices got rows: one entry per transaction of the storage writer and hour, in that transaction.
-- Only ever inserted by writers and deleted by the roll-up, so that they never wait for each other.
CREATE TABLE metrics_changes (
    hour TIMESTAMPTZ NOT NULL,
    device_ids INTEGER[] NOT NULL
);
CREATE INDEX metrics_changes_hour ON metrics_changes (hour);

-- How far the roll-up has come. Every hour before "rolled_up_until" (null: not begun) is in metrics_hourly as its rows
-- are, but for those named by metrics_changes. Before "complete_from" (null: nowhere) rows were dropped by retention,
-- and metrics_hourly is all there is.
CREATE TABLE metrics_hourly_state (
    is_only BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (is_only),
    rolled_up_until TIMESTAMPTZ,
    complete_from TIMESTAMPTZ
);
INSERT INTO metrics_hourly_state DEFAULT VALUES;

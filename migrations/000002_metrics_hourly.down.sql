DROP TABLE metrics_hourly_state;
DROP TABLE metrics_changes;
DROP TABLE metrics_hourly;

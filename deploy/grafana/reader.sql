-- The role that Grafana reads NMSlite's database with: docs/grafana.md.
--
--     psql -h db.example -U postgres -d nmslite -f reader.sql
--
-- As a superuser, or as the owner of NMSlite's tables if that role may create roles. It may be run again at any time,
-- and should be after an upgrade: what an older version of this file granted and this one does not is taken back. The
-- password is left alone; set it with \password nmslite_reader, which sends it hashed.

\set ON_ERROR_STOP on
SET client_min_messages = warning;

BEGIN;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'nmslite_reader') THEN
        CREATE ROLE nmslite_reader LOGIN;
    END IF;
END
$$;

-- Two more than the data source opens (maxOpenConns), for a psql by hand.
ALTER ROLE nmslite_reader LOGIN CONNECTION LIMIT 10;

-- A guard against mistakes; what keeps the role from writing is that it has no privilege to.
ALTER ROLE nmslite_reader SET default_transaction_read_only = on;
ALTER ROLE nmslite_reader SET statement_timeout = '10s';
ALTER ROLE nmslite_reader SET lock_timeout = '5s';
ALTER ROLE nmslite_reader SET idle_in_transaction_session_timeout = '60s';
-- Compiling a statement takes longer than any of the dashboards' statements runs.
ALTER ROLE nmslite_reader SET jit = off;
-- Hours of the roll-up begin on the hour in UTC.
ALTER ROLE nmslite_reader SET timezone = 'UTC';
ALTER ROLE nmslite_reader SET search_path = public;

GRANT CONNECT ON DATABASE :"DBNAME" TO nmslite_reader;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM nmslite_reader;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM nmslite_reader;
GRANT USAGE ON SCHEMA public TO nmslite_reader;

-- Rows, of all months: a privilege on the partitioned table holds for partitions that come later too, as long as they
-- are read through it.
GRANT SELECT ON metrics, metrics_hourly, metrics_hourly_state TO nmslite_reader;

-- Devices by column, so that a column that a later version adds is not seen before somebody decided so. Not the text of
-- the last error: it repeats what hosts answered.
GRANT SELECT (
    id, ip, hostname, os, build, status, polling_interval, last_seen, last_result_at, last_error_code, last_error_at,
    consecutive_failures, created_at, updated_at
) ON devices TO nmslite_reader;

COMMIT;

-- Who changed what and when: one row per change, inserted in the transaction of the change.
--
-- Rows are only ever added. NMSlite never removes any: a trail that its own writer may shorten is none. What that costs
-- is some 300 bytes per change, the indexes included: a thousand changes a day are about 100 MB a year. What can't be
-- trusted to be few is bounded before it comes here: failed logins are written once per user name and address in five
-- minutes, then as a number.
--
-- Whoever owns the database can archive by hand, as an act of its own that nothing does by accident:
--     BEGIN;
--     ALTER TABLE audit_log DISABLE TRIGGER audit_log_is_append_only;
--     DELETE FROM audit_log WHERE at < '2025-01-01';
--     ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_is_append_only;
--     COMMIT;

-- Without references to other tables: entries outlive the users, devices and credentials that they are about, and say
-- how those were named at the time.
CREATE TABLE audit_log (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- When the row was written, not when its transaction began, in the milliseconds that the API speaks.
    at TIMESTAMPTZ NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
    action TEXT NOT NULL,
    actor_type TEXT NOT NULL,
    actor_id INTEGER,
    actor_name TEXT,
    actor_role TEXT,
    target_type TEXT NOT NULL,
    -- Of a device, credential or user its number; of a session or discovery its UUID.
    target_id TEXT,
    target_name TEXT,
    -- {"field": {"from": …, "to": …}}; of a secret only {"changed": true}.
    changes JSONB NOT NULL DEFAULT '{}',
    remote_address TEXT,
    request_id TEXT,

    CONSTRAINT valid_actor_type CHECK (actor_type IN ('user', 'command_line', 'system', 'anonymous')),
    CONSTRAINT named_actor CHECK (actor_type <> 'user' OR (actor_id IS NOT NULL AND actor_name IS NOT NULL)),
    CONSTRAINT valid_changes CHECK (jsonb_typeof(changes) = 'object')
);

-- Pages, newest first. The id decides among entries of one millisecond.
CREATE INDEX audit_log_at ON audit_log (at DESC, id DESC);
-- The history of one device, credential or user.
CREATE INDEX audit_log_target ON audit_log (target_type, target_id, at DESC, id DESC);

CREATE FUNCTION refuse_audit_log_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_log is append-only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege',
            HINT = 'migrations/000003_audit.up.sql says how the owner of the database archives old entries.';
END
$$;

-- For each statement: one that touches no row is refused as well.
CREATE TRIGGER audit_log_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_log_change();
-- Also for a session that plays replica.
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_is_append_only;

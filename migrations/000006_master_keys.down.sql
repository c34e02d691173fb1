DO $$
BEGIN
    -- The schema before this one knows a single key.
    IF (SELECT count(*) FROM master_keys) > 1 THEN
        RAISE EXCEPTION 'a rotation of the master key is not finished: run nmslite keys rotate first';
    END IF;
END
$$;
ALTER TABLE credentials DROP CONSTRAINT credentials_key_id_fkey;
INSERT INTO settings (key, value)
SELECT 'master_key_check', check_value FROM master_keys WHERE is_current AND check_value IS NOT NULL;
DROP TABLE master_keys;

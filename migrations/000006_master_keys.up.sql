-- The master keys that open stored passwords: one, and while it is rotated two.

-- A key is known by its id, the second part of every ciphertext; "check_value" proves to an instance that it has the
-- key. What is written is sealed with the current key, which the database names so that all instances agree on it.
CREATE TABLE master_keys (
    id TEXT PRIMARY KEY,
    -- NULL where it was lost: an instance that has the key writes it anew at its next start.
    check_value TEXT,
    is_current BOOLEAN NOT NULL DEFAULT FALSE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW()
);
CREATE UNIQUE INDEX master_keys_one_is_current ON master_keys (is_current) WHERE is_current;

INSERT INTO master_keys (id, check_value, is_current)
SELECT split_part(value, ':', 2), value, TRUE FROM settings WHERE key = 'master_key_check';
INSERT INTO master_keys (id) SELECT DISTINCT key_id FROM credentials ON CONFLICT (id) DO NOTHING;
DELETE FROM settings WHERE key = 'master_key_check';

-- A key that a row needs can't end, and no row can be sealed with one that has ended.
ALTER TABLE credentials ADD CONSTRAINT credentials_key_id_fkey FOREIGN KEY (key_id) REFERENCES master_keys (id);

-- What happens after an error beside cleanup: things are kept for a while (abort), or the VM is held for a person (hold).

ALTER TABLE builds
    ADD COLUMN keep_for_ms     bigint,                      -- how long; null: the usual time of what on_error says
    ADD COLUMN authorized_keys text[] NOT NULL DEFAULT '{}';  -- public keys that a held or kept VM lets in

-- A held run is decided but still `running`: nobody works on it, and its lease runs out when the hold is over.
ALTER TABLE runs
    ADD COLUMN held_until   timestamptz,
    ADD COLUMN held         jsonb,                          -- how its VM is reached
    ADD COLUMN held_omi_key text,                           -- its omi_key, which others may use meanwhile
    ADD COLUMN release      text CHECK (release IN ('cleanup', 'keep', 'retry')),
    ADD COLUMN keys_in_vm   boolean NOT NULL DEFAULT false,  -- whether its VM may let in the authorized_keys
    ADD COLUMN kept_until   timestamptz;                    -- when the reaper removes what an aborted run kept

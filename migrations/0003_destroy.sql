-- What a build announced can be destroyed again, when somebody asks for it.

ALTER TABLE runs
    ADD COLUMN destroy       text CHECK (destroy IN ('pending', 'done', 'refused')),
    ADD COLUMN destroy_after timestamptz;                   -- when a worker tries, or tries again
CREATE INDEX runs_destroy ON runs (destroy_after) WHERE destroy = 'pending';

ALTER TABLE artifacts
    ADD COLUMN removed_at    timestamptz,
    ADD COLUMN removal_error text;                          -- why it could not be destroyed the last time

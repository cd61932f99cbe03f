-- Builds, their runs, the journal, the ledger, logs and events.
-- Every table that a worker writes to is guarded by runs.lease_token (the fence).

CREATE TABLE contexts (
    id         uuid        PRIMARY KEY,
    digest     bytea       NOT NULL UNIQUE,     -- SHA-256 of the archive before it was sealed
    data       bytea       NOT NULL,            -- tar.gz of the uploaded folder, sealed by the vault
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE builds (
    id                  uuid        PRIMARY KEY,
    name                text,
    state               text        NOT NULL DEFAULT 'queued'
                        CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    labels              jsonb       NOT NULL DEFAULT '{}',
    priority            integer     NOT NULL DEFAULT 0,
    on_error            text        NOT NULL DEFAULT 'cleanup',
    timeout_ms          bigint,                 -- from the start of the first run
    credentials         text,                   -- name of a stored set
    template            jsonb       NOT NULL,   -- as given, secrets blanked
    notices             jsonb       NOT NULL DEFAULT '[]',
    request_sealed      bytea       NOT NULL,   -- the whole request, for retry; sealed by the vault
    context_id          uuid        REFERENCES contexts (id),
    retry_of            uuid        REFERENCES builds (id) ON DELETE SET NULL,
    created_at          timestamptz NOT NULL,
    started_at          timestamptz,
    finished_at         timestamptz,
    cancel_requested_at timestamptz,
    error               jsonb,
    version             bigint      NOT NULL DEFAULT 1,  -- grows with every change that a reader can see
    last_seq            bigint      NOT NULL DEFAULT 0,  -- number of the last log line
    log_bytes           bigint      NOT NULL DEFAULT 0
);
CREATE INDEX builds_newest ON builds (created_at DESC, id DESC);
CREATE INDEX builds_labels ON builds USING gin (labels jsonb_path_ops);

CREATE TABLE runs (
    id               uuid        PRIMARY KEY,
    build_id         uuid        NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    ordinal          integer     NOT NULL,
    name             text        NOT NULL,
    builder          text        NOT NULL,
    state            text        NOT NULL DEFAULT 'queued'
                     CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    plan_sealed      bytea       NOT NULL,      -- the run's plan, sealed by the vault
    omi_key          text,                      -- where and under which name it will make an OMI: one at a time
    requires         text[]      NOT NULL DEFAULT '{}',  -- capabilities of the worker
    priority         integer     NOT NULL DEFAULT 0,
    attempt          integer     NOT NULL DEFAULT 1,
    max_attempts     integer     NOT NULL DEFAULT 2,
    step             text,
    steps_done       integer     NOT NULL DEFAULT 0,
    steps_total      integer     NOT NULL DEFAULT 0,
    cleanup          text        NOT NULL DEFAULT 'none'
                     CHECK (cleanup IN ('none', 'pending', 'done', 'failed')),
    outcome          jsonb,                     -- what the run will end as once its cleanup is done
    error            jsonb,
    worker           text,
    lease_token      bigint      NOT NULL DEFAULT 0,     -- grows with every claim
    lease_expires_at timestamptz,
    run_after        timestamptz NOT NULL DEFAULT now(),
    created_at       timestamptz NOT NULL,
    started_at       timestamptz,
    finished_at      timestamptz,
    UNIQUE (build_id, ordinal),
    UNIQUE (build_id, name)
);
CREATE INDEX runs_claimable ON runs (priority DESC, created_at) WHERE state IN ('queued', 'running');
CREATE INDEX runs_cleanup ON runs (run_after) WHERE cleanup IN ('pending', 'failed');
CREATE UNIQUE INDEX runs_one_per_omi ON runs (omi_key) WHERE state = 'running' AND omi_key IS NOT NULL;

-- The journal.
CREATE TABLE steps (
    run_id      uuid        NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    attempt     integer     NOT NULL,
    name        text        NOT NULL,
    ordinal     integer     NOT NULL,
    state       text        NOT NULL CHECK (state IN ('running', 'succeeded', 'failed', 'interrupted')),
    started_at  timestamptz NOT NULL,
    finished_at timestamptz,
    output      jsonb,
    error       jsonb,
    PRIMARY KEY (run_id, attempt, name)
);

-- The ledger: written before the cloud is asked.
CREATE TABLE resources (
    id          uuid        PRIMARY KEY,
    build_id    uuid        NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    run_id      uuid        NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    attempt     integer     NOT NULL,
    slot        text        NOT NULL,           -- what it is for: `key`, `vm`, `image`, `volume /dev/xvdb`, …
    kind        text        NOT NULL CHECK (kind IN ('keypair', 'security_group', 'public_ip', 'vm', 'volume', 'snapshot', 'image')),
    lookup      jsonb       NOT NULL,           -- how to find it again when its id is not known
    cloud_id    text,
    region      text        NOT NULL,
    keep        text        NOT NULL CHECK (keep IN ('never', 'on_success')),
    state       text        NOT NULL DEFAULT 'intent' CHECK (state IN ('intent', 'created', 'kept', 'removed')),
    created_at  timestamptz NOT NULL,
    removed_at  timestamptz,
    tries       integer     NOT NULL DEFAULT 0,
    last_error  text,
    UNIQUE (run_id, attempt, slot)
);
CREATE INDEX resources_of_run ON resources (run_id, created_at);
CREATE INDEX resources_of_build ON resources (build_id, created_at);

CREATE TABLE artifacts (
    run_id   uuid    NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    ordinal  integer NOT NULL,
    build_id uuid    NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    artifact jsonb   NOT NULL,
    PRIMARY KEY (run_id, ordinal)
);
CREATE INDEX artifacts_of_build ON artifacts (build_id);

-- No foreign key: checking it for every line takes three quarters of the time of an insert, and lines are only appended
-- by a statement that holds the row of their build.
CREATE TABLE log_lines (
    build_id uuid        NOT NULL,
    seq      bigint      NOT NULL,
    at       timestamptz NOT NULL,
    run      text,
    step     text,
    stream   text        NOT NULL CHECK (stream IN ('stdout', 'stderr', 'ui')),
    line     text        NOT NULL,
    PRIMARY KEY (build_id, seq)
);

-- What readers are told beside the log: state changes, steps, artifacts. Written in the transaction of the change.
CREATE TABLE build_events (
    build_id  uuid        NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    version   bigint      NOT NULL,             -- builds.version after the change
    at        timestamptz NOT NULL,
    kind      text        NOT NULL CHECK (kind IN ('state', 'step', 'artifact')),
    after_seq bigint      NOT NULL,             -- stands behind this log line
    data      jsonb       NOT NULL,
    tx        xid8        NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (build_id, version)
);
CREATE INDEX build_events_order ON build_events (tx, build_id, version);

-- Files that a build downloaded from its VM.
CREATE TABLE build_files (
    build_id   uuid        NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    run        text        NOT NULL,
    path       text        NOT NULL,
    data       bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (build_id, run, path)
);

CREATE TABLE idempotency_keys (
    scope       text        NOT NULL,           -- who sent it
    key         text        NOT NULL,
    fingerprint bytea       NOT NULL,           -- SHA-256 of what was asked
    build_id    uuid        REFERENCES builds (id) ON DELETE CASCADE,  -- null while it is being accepted
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (scope, key)
);

CREATE TABLE workers (
    id           text        PRIMARY KEY,
    hostname     text        NOT NULL,
    capabilities text[]      NOT NULL DEFAULT '{}',
    slots        integer     NOT NULL,
    busy         integer     NOT NULL DEFAULT 0,
    draining     boolean     NOT NULL DEFAULT false,
    version      text        NOT NULL,
    started_at   timestamptz NOT NULL,
    seen_at      timestamptz NOT NULL
);

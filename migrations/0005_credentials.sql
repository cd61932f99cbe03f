-- Stored sets of credentials, and what tells which master key the database is sealed with.

CREATE TABLE credential_sets (
    id             uuid        PRIMARY KEY,
    name           text        NOT NULL UNIQUE,
    region         text,
    endpoint       text,
    access_key_end text        NOT NULL,        -- its last four characters
    has_certificate boolean    NOT NULL,
    sealed         bytea       NOT NULL,        -- keys and client certificate as JSON, sealed by the vault
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    last_used_at   timestamptz
);
CREATE INDEX builds_with_credentials ON builds (credentials) WHERE credentials IS NOT NULL;

-- One known text, sealed: a process with another master key notices at its start.
CREATE TABLE master_key_check (
    id     uuid    PRIMARY KEY,
    is_one boolean NOT NULL UNIQUE DEFAULT true CHECK (is_one),
    sealed bytea   NOT NULL
);

-- Which process has which master keys, the sealing one first; kept fresh by its heartbeat.
CREATE TABLE master_key_holders (
    id       uuid        PRIMARY KEY,
    hostname text        NOT NULL,
    key_ids  text[]      NOT NULL,
    seen_at  timestamptz NOT NULL
);

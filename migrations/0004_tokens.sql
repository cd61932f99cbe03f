-- Who may use the service, and what they did.

CREATE TABLE tokens (
    id           uuid        PRIMARY KEY,
    name         text        NOT NULL,
    hash         bytea       NOT NULL UNIQUE CHECK (length(hash) = 32),  -- SHA-256 of the token
    role         text        NOT NULL CHECK (role IN ('viewer', 'builder', 'admin')),
    limits       jsonb       NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL,
    created_by   text        NOT NULL,
    expires_at   timestamptz,
    last_used_at timestamptz,                   -- to the minute
    revoked_at   timestamptz
);
-- The name of a revoked token can be given again.
CREATE UNIQUE INDEX tokens_name ON tokens (name) WHERE revoked_at IS NULL;

ALTER TABLE builds
    ADD COLUMN created_by text,                 -- null: from before there were tokens
    ADD COLUMN token_id   uuid REFERENCES tokens (id);
CREATE INDEX builds_of_token ON builds (token_id) WHERE state IN ('queued', 'running');

CREATE TABLE audit (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    principal  text        NOT NULL,            -- a token's name, `oidc:SUBJECT`, `local`, `database`
    token_id   uuid,
    role       text        NOT NULL,
    action     text        NOT NULL,
    outcome    text        NOT NULL CHECK (outcome IN ('done', 'denied')),
    build_id   uuid,                            -- no foreign key: the audit outlives the build
    target     text,                            -- a token, a stored set of keys, a run
    detail     jsonb       NOT NULL DEFAULT '{}',
    address    inet,
    request_id text
);
CREATE INDEX audit_principal ON audit (principal, id);
CREATE INDEX audit_action ON audit (action, id);
CREATE INDEX audit_build ON audit (build_id, id) WHERE build_id IS NOT NULL;
CREATE INDEX audit_at ON audit (at);

-- Append only: also fournil itself cannot take back what it wrote. Whoever owns the table can drop the trigger.
CREATE FUNCTION fournil_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the table % is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION fournil_refuse_change();

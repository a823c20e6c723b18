-- Domains, links, API keys, the outbox, the shards' state, and the view that edges read.

-- What this installation keeps secret or counts, in one row.
CREATE TABLE installation (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    code_key bytea NOT NULL CHECK (octet_length(code_key) = 16),
    domains_revision bigint NOT NULL DEFAULT 1
);
INSERT INTO installation (code_key)
VALUES (substring(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) FROM 1 FOR 16));

CREATE TABLE domains (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host text COLLATE "C" NOT NULL UNIQUE CHECK (host = lower(host)),
    base_url text NOT NULL,
    is_default boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX domains_default ON domains (is_default) WHERE is_default;

CREATE SEQUENCE code_numbers MINVALUE 0 MAXVALUE 3521614606207 START 0;

-- A deleted link keeps its row until it is purged, so that its version goes on rising when the code is taken again.
CREATE SEQUENCE link_ids;
CREATE TABLE links (
    id bigint PRIMARY KEY DEFAULT nextval('link_ids'),
    key_hash bigint NOT NULL,
    version bigint NOT NULL DEFAULT 1 CHECK (version BETWEEN 1 AND 4294967295),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    not_before timestamptz,
    not_after timestamptz,
    domain_id integer NOT NULL REFERENCES domains,
    status smallint NOT NULL DEFAULT 302 CHECK (status IN (301, 302, 307, 308)),
    is_enabled boolean NOT NULL DEFAULT true,
    code text COLLATE "C" NOT NULL CHECK (octet_length(code) BETWEEN 1 AND 64),
    target text NOT NULL,
    UNIQUE (domain_id, code),
    -- A link that no record can hold would be missing from a shard that is called complete, and answered with 404.
    CONSTRAINT links_recordable CHECK (
        octet_length(target) BETWEEN 1 AND 8192
        AND target COLLATE "C" ~ '^[!-~]+$'
        AND not_before >= '1970-01-01Z' AND not_before < '10000-01-01Z'
        AND not_after >= '1970-01-01Z' AND not_after < '10000-01-01Z'
    )
);
CREATE INDEX links_key_hash ON links (key_hash);
CREATE INDEX links_deleted_at ON links (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE api_keys (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    hint text NOT NULL,
    hash bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

-- A row is ready, or waits for a shard that cannot be written now, or is set aside with a reason until retry_at.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    link_id bigint NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    waiting_shard text,
    attempts integer NOT NULL DEFAULT 0,
    retry_at timestamptz,
    reason text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX outbox_ready ON outbox (id) WHERE waiting_shard IS NULL AND retry_at IS NULL;
CREATE INDEX outbox_waiting ON outbox (waiting_shard, id) WHERE waiting_shard IS NOT NULL;
CREATE INDEX outbox_set_aside ON outbox (retry_at) WHERE retry_at IS NOT NULL;
CREATE INDEX outbox_faulty ON outbox (id) WHERE reason IS NOT NULL;

-- The payload is constant, so PostgreSQL folds the notifications of one transaction into one.
CREATE FUNCTION outbox_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY pointsman_outbox;
    RETURN NULL;
END $$;
CREATE TRIGGER outbox_notify AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION outbox_notify();

-- The topology documents, newest epoch last; the newest one is in force.
CREATE TABLE topologies (
    epoch bigint PRIMARY KEY CHECK (epoch > 0),
    document text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- What control knows of a shard's content; see the docstring of control.projection.
CREATE TABLE shards (
    id text PRIMARY KEY,
    run_id text,
    is_complete boolean NOT NULL DEFAULT false,
    floor_seq bigint NOT NULL DEFAULT 0,
    base_seq bigint NOT NULL DEFAULT 0
);

-- Which batch (its pm:seq on the shard) wrote which version; kept long enough to redo what a restarted shard has lost.
CREATE TABLE projected (
    shard_id text NOT NULL,
    seq bigint NOT NULL,
    link_id bigint NOT NULL,
    version bigint NOT NULL,
    projected_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_id, seq, link_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
CREATE INDEX projected_link ON projected (link_id);

CREATE VIEW edge_link AS
SELECT domain_id, code, id AS link_id, version, status, target, is_enabled, not_before, not_after
FROM links
WHERE deleted_at IS NULL;

-- Roles belong to the whole cluster: another database of it may have made this one, and we may not be allowed to.
DO $$
BEGIN
    CREATE ROLE pointsman_edge NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN NULL;
END $$;
DO $$
BEGIN
    GRANT SELECT ON edge_link TO pointsman_edge;
EXCEPTION
    WHEN undefined_object OR insufficient_privilege THEN NULL;
END $$;

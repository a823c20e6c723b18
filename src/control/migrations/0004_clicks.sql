-- Clicks: what edges recorded, which frames are counted, and what they add up to; see the docstring of control.clicks.
-- `day` is a number of days since 1970-01-01, in UTC.

-- One row for each life of a worker's process: what it reported, and what has become of it here.
CREATE TABLE click_writers (
    writer bigint PRIMARY KEY CHECK (writer > 0),
    edge_id text NOT NULL,
    started_at timestamptz,
    reported_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    recorded bigint NOT NULL DEFAULT 0,
    dropped jsonb NOT NULL DEFAULT '{}',
    unknown_recorded bigint NOT NULL DEFAULT 0,
    unknown_dropped bigint NOT NULL DEFAULT 0,
    stored bigint NOT NULL DEFAULT 0,
    stored_unknown bigint NOT NULL DEFAULT 0,
    dead bigint NOT NULL DEFAULT 0,
    dead_unknown bigint NOT NULL DEFAULT 0,
    is_final boolean NOT NULL DEFAULT false
);
CREATE INDEX click_writers_updated_at ON click_writers (updated_at);

-- The identities of frames: ranges of a segment that are counted, and ranges that are in click_dead_frames instead.
CREATE TABLE click_segments (
    writer bigint NOT NULL,
    segment integer NOT NULL,
    edge_id text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    committed int4multirange NOT NULL DEFAULT '{}',
    dead int4multirange NOT NULL DEFAULT '{}',
    PRIMARY KEY (writer, segment)
) WITH (fillfactor = 70);
CREATE INDEX click_segments_created_at ON click_segments (created_at);

CREATE TABLE click_totals (
    link_id bigint PRIMARY KEY,
    clicks bigint NOT NULL,
    humans bigint NOT NULL,
    bots bigint NOT NULL,
    previews bigint NOT NULL,
    heads bigint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL
) WITH (fillfactor = 70);

-- Documents are compact already, and those of a busy day are replaced every second: compressing them again costs more
-- than it saves. Partitions are made ahead by control; what belongs to none of them waits in the default one.
CREATE TABLE click_link_days (
    link_id bigint NOT NULL,
    day integer NOT NULL,
    clicks integer NOT NULL,
    document bytea STORAGE EXTERNAL NOT NULL,
    PRIMARY KEY (link_id, day)
) PARTITION BY RANGE (day);
CREATE TABLE click_link_days_default PARTITION OF click_link_days DEFAULT;

-- scope: 1 domain, 2 tag, 3 account (subject 0), 4 unknown codes of a domain.
CREATE TABLE click_scope_days (
    scope smallint NOT NULL CHECK (scope BETWEEN 1 AND 4),
    subject bigint NOT NULL,
    day integer NOT NULL,
    clicks bigint NOT NULL,
    document bytea STORAGE EXTERNAL NOT NULL,
    PRIMARY KEY (scope, subject, day)
) WITH (fillfactor = 50);
CREATE INDEX click_scope_days_day ON click_scope_days (day);

-- Visitors are hashed with the salt of their day, which is forgotten two days later.
CREATE TABLE click_salts (
    day integer PRIMARY KEY,
    salt bigint NOT NULL
);

CREATE TABLE click_rows (
    at timestamptz NOT NULL,
    link_id bigint NOT NULL,
    domain_id integer NOT NULL,
    status smallint NOT NULL,
    flags smallint NOT NULL,
    class smallint NOT NULL,
    country text NOT NULL,
    city text NOT NULL,
    browser text NOT NULL,
    os text NOT NULL,
    device text NOT NULL,
    referrer text NOT NULL,
    utm_source text NOT NULL,
    utm_medium text NOT NULL,
    utm_campaign text NOT NULL,
    address inet,
    user_agent text NOT NULL,
    referrer_url text NOT NULL
) PARTITION BY RANGE (at);
CREATE INDEX click_rows_link_id ON click_rows (link_id, at);
CREATE TABLE click_rows_default PARTITION OF click_rows DEFAULT;

-- What could not be counted, as it came. Without a writer: an envelope that could not be read.
CREATE TABLE click_dead_frames (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT now(),
    shard_id text NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    writer bigint,
    segment integer,
    range int4range,
    clicks integer NOT NULL DEFAULT 0,
    unknown integer NOT NULL DEFAULT 0,
    data bytea NOT NULL,
    sha256 bytea NOT NULL UNIQUE
);
CREATE INDEX click_dead_frames_received_at ON click_dead_frames (received_at);

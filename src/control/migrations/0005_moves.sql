-- Moves of links between shards, what happened in each, and shards that are being brought in.

-- A shard that is joining is written and may be trusted for what it has; the move that brings it in fills it.
ALTER TABLE shards ADD COLUMN is_joining boolean NOT NULL DEFAULT false;

CREATE TABLE moves (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('add', 'remove', 'reweight', 'replace', 'drain')),
    shard_id text NOT NULL,
    phase text NOT NULL,
    phase_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- What the operator has asked for; the driver acts upon it.
    is_paused boolean NOT NULL DEFAULT false,
    wanted text CHECK (wanted IN ('abort', 'reverse')),
    lost text[] NOT NULL DEFAULT '{}',
    is_reversed boolean NOT NULL DEFAULT false,
    waits_for text,
    waits_since timestamptz,
    error text,
    -- The token of the driver: it rises with each one, and only the newest may change the row.
    driver bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    before text NOT NULL,
    after text NOT NULL,
    plan jsonb NOT NULL,
    work jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz
);
-- One move at a time: each starts from the topology in force.
CREATE UNIQUE INDEX moves_under_way ON moves ((true)) WHERE ended_at IS NULL;

CREATE TABLE move_events (
    move_id bigint NOT NULL REFERENCES moves ON DELETE CASCADE,
    number integer NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    event text NOT NULL,
    phase text NOT NULL,
    epoch bigint NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (move_id, number)
);

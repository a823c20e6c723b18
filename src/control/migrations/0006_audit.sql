-- Passes of the audit: PostgreSQL compared with what the shards hold.

CREATE TABLE audits (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    -- Whether everything was looked at; only known at the end.
    is_complete boolean NOT NULL DEFAULT false,
    -- When the newest complete pass before this one ended; before there was any, when the first one began.
    complete_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    waits_for text,
    -- Where the next process goes on, and what was found so far.
    place jsonb NOT NULL DEFAULT '{}',
    tally jsonb NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX audits_under_way ON audits ((true)) WHERE ended_at IS NULL;

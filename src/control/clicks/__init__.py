"""Clicks: counted once each, by link, domain, tag and account, from the frames that edges send.

Tables: click_writers, click_segments, click_totals, click_link_days, click_scope_days, click_salts, click_rows,
click_dead_frames.

    shard's stream ──▶ tasks.Consumer (one a shard and process) ──▶ service.Intake ──▶ PostgreSQL
       ▲    ▲                │ what is committed: entry deleted, edge told (stream.finish)
       │    └────────────────┘
     edge: keeps each frame on disk until it is told

What happens to a frame:

    in the stream ──read──▶ pending with a consumer ──commit──▶ stored ──▶ entry gone, edge told ──▶ edge deletes it
         ▲                      │      │      └─────────▶ dead (click_dead_frames) ──▶ the same
         │                      │      └─ its process ends: claimed by another consumer
         └── sent again ── shard lost it, or the envelope was damaged on the way

- `stream` has the commands of the consumer group, `model` tells frames from reports and new frames from known ones
  (pure), `service` stores a batch in one transaction, `store`, `merging` and `dead_frames` are its SQL, `books` what is
  known of a writer (pure).
- `_fold` decodes, groups and merges (compiled), `enrichment` says what a click's texts and address mean.
- `partitions` and `retention` make room, `reconciliation` compares what was served with what is stored.
- `api`, `streamed`, `commands` and what they use answer questions about clicks.

Invariants:
- everything of a batch is committed, or nothing: identities, totals, documents, raw rows, books, dead frames (I3);
- a frame's identity is (writer, segment, range). A range within `click_segments.committed` was counted and is never
  counted again; one within `dead` lies in click_dead_frames, from where a replay moves it to `committed` in the
  transaction that counts it. What overlaps `committed` in part cannot be counted, and is dead;
- identities are looked up for the last time under the one lock of `store.begin_merge`, under which alone rollups,
  identities and books change: no interleaving of consumers, replays and partitions in the making counts a frame twice;
- an edge is told of a frame after the commit is on disk (synchronous_commit), never before. That word may get lost, and
  an entry may be stored by two consumers: both end as a duplicate, which changes nothing and is told again;
- a frame whose identity can be believed is told of, dead or not: the edge need not keep it. An envelope that is damaged
  is not: the edge sends a good copy;
- identities are kept longer than frames are taken (`model.window`, retention.SEGMENTS_MARGIN_DAYS). An older frame is
  dead, because nobody could tell whether it was counted;
- nothing that comes in stops what comes after it: an entry that cannot be read, a body, values that PostgreSQL refuses
  and stored documents that are damaged are laid aside with their reason;
- for each link, its row of click_totals, its days and what the scopes say add up to the same clicks.
"""

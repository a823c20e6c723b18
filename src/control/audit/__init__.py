"""The audit: what PostgreSQL says of links, compared with what the shards hold, for ever. Table: audits.

    links: pages by key_hash ──records──▶ MGET at all owners ──differs──▶ second look ──drift──▶ repair
    keys:  SCAN of each shard ──not its own, or no row──▶ second look ──drift──▶ remove

- `tasks.py` audits in one of all control processes; `commands.py` is a pass in the foreground.
- `passes.py` is one pass: first the links, then the keys. It holds while a move is copying, verifying or cleaning.
- `links.py` compares a page, `keys.py` looks through a shard; `drift.py` looks again and says what is drift.
- `repair.py` repairs: what is missing or older by an outbox row, like any change; what is newer than PostgreSQL or
  different in place, and by an outbox row too; what is too much is removed.
- `connections.py` has the shards that can be judged: complete, not joining, and the process that their keeper knows.
- `model.py` is what a pass has found and where it is, `store.py` keeps that, `api.py` shows it.

Invariants:
- a change on its way is no drift: what differs counts when a second look, between two reads of PostgreSQL, differs
  while no row of the outbox concerns the link, the same topology is in force, and the shard is complete;
- nothing that was written meanwhile is undone: a record is replaced, and a key removed, only if it still is what was
  seen, and removed only under the fence of the topology in force;
- whatever was replaced or removed is followed by an outbox row, if the link has a row: the shards end with what
  PostgreSQL says then, whatever came between;
- a pass that could not look at everything is not called complete.
"""

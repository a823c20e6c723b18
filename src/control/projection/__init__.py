"""Projection: what makes the shards' content follow PostgreSQL. Tables: outbox, projected, shards (state).

It is a feature of its own, not a part of links or shards: it reads links, writes to shards, and neither needs to know.

- `tasks.Projector` takes outbox rows and writes the current state of their links to the owning shards (`batch.py`):
  one each, or two while a topology has two rings.
- `keeper.Keeper`, one a shard, watches the Redis process behind it, brings it the documents and the fence of each
  epoch (`publication.py`), and repairs it when it has lost something or was replaced (`recovery.py`, decided by
  `decision.py`).
- `former.py` looks for the process that a shard had before its address was changed, and fences it.
- `notes.py` keeps which batch wrote which version, for as long as a shard may have to be told again.
- `full.py` writes all links, for an empty shard or `pointsman project --all`.

State of a shard in PostgreSQL (table shards) and in Redis (pm:fence):

    unfenced ──full: sweep, then──▶ filling ──every link written──▶ complete
       ▲   └────tail: redo what the log lost─────────────────────────▶ │ ▲
       └──────────── another run id, or no fence ──────────────────────┘ │
    joining, unfenced ──adopt: sweep, then──▶ joining, filling ──its move has copied and verified──┘
       ▲                                              │
       └──────────── another run id, or no fence ─────┘

Invariants:
- a batch holds the placement lock shared and reads the epoch after it has it; whoever puts a topology in force holds
  it alone. So no batch writes by an older topology than the one in force. A projector that was stopped in the middle of
  one loses its transaction, with the lock, after `store.IDLE_IN_TRANSACTION_MS`. Awake again, it writes nothing where
  the fence is of a later epoch, elsewhere nothing that is newer than what is there, and its commit fails;
- a row is finished when it was written to all of its shards. What was written to one of them is noted at once; if
  another one cannot be written the row waits for that one, and then it is written to all of them again;
- locks are taken in this order: a keeper's, placement, batches of a shard;
- writes are compare-and-set by version, so duplicates, reordering and two projectors at once are harmless;
- a batch writes to a shard only over a connection whose run id is `shards.run_id`, under the shard's shared batch lock;
  `shards.run_id` changes only under the exclusive one, when no batch is in flight, and is null while a tail is redone;
- a batch ends with a rising number (pm:seq) behind its writes in the shard's own log, and `projected` keeps which links
  it wrote, in the transaction that removes their outbox rows. A recovered log is a prefix of what was sent, so the
  recovered pm:seq tells exactly which batches are lost: those of a higher number. They can be told as long as
  pm:seq >= `floor_seq`; below that the shard is filled anew;
- a number is never used twice for a shard: each is above `base_seq`, the highest number ever seen when the shard was
  last recovered;
- a fence names a run id only when no link on that process can be older than what had been projected before (I4), and
  says complete only when no link is missing (I5).
"""

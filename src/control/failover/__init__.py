"""Failover: another process behind a shard's id, when its primary is lost or is to be given up.

- `promotion.py` makes a replica the primary; `replacement.py` puts an empty server in the place of a shard that is lost
  with all its replicas; `sentinels.py` follows the switches of Redis Sentinel, which `sentinel.py` asks.
- All three publish a topology in which one shard has another address, and nothing else. What the new process lacks is
  the matter of its keeper (`control.projection`), as with any process that has come back: a replica holds a prefix of
  the primary's log, so its pm:seq tells which batches it lacks.

Invariant: a primary that is given up is fenced for the new topology, or proven dead, before anybody may change links
at the new one without it noticing: an edge that is still connected to it reads the fence and looks for the new one.
"""

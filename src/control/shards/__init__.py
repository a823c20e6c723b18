"""Shards: the topology document and connections to the Redis processes it names. Tables: topologies, shards (its rows).

Invariants:
- the topology with the highest epoch is in force; a document is never changed, only followed by one of a higher epoch;
- every shard of the topology has a row in `shards`; what that row says is the matter of `control.projection`;
- a connection belongs to one Redis process: it is never re-established behind its user's back (`connection.py`).
"""

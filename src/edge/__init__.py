"""The data plane: answers public short links with redirects.

Owns no truth: L1 in each worker's memory and the last topology document on disk, both of which can be thrown away.
Reads Redis shards and, where a shard cannot answer, the PostgreSQL view `edge_link`; writes only its own heartbeat.

Invariants: I1 (no redirect waits for control), I4 (what is cached is trusted only while its shard's push channel is
proven alive), I5 (404 is said only by an authority), I8 (imports wire, never control).
"""

"""Eviction policies on real request traces, and L1 as it is shipped beside them.

`policies` has each policy in plain Python, one function a policy; `traces` reads and makes requests; `shipped` runs the
compiled cache on the same requests. All entries have one size and all caches hold equally many, so what is compared is
the policy; `shipped` also says what an entry costs in bytes, and what a look-up takes inside the compiled module.

Invariants:
- a trace is only used when a plain LRU on it has the hit ratios that are published with it;
- a point of the table is one trace and one number of entries, the same for all policies.
"""

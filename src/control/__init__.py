"""The control plane: the only writer of links.

Owns every table in PostgreSQL (migrations/) and, of Redis, every key but the edges' heartbeats. Read `app.py` first.

Invariants:
- a change and its outbox row are one transaction; what Redis holds is derived from PostgreSQL and can be rebuilt (I4);
- a shard is fenced complete only when it is (I5): `projection/`;
- bad input gets one problem code and changes nothing (I7): `http.py`, `errors.py`;
- imports wire and, of edge, `edge._fast` alone (I8).
"""

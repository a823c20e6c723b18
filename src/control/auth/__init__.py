"""API keys: bearer tokens that the CLI creates and revokes. Table: api_keys.

Invariants:
- a key's secret is shown once, at creation; only its SHA-256 is stored. The secret has 256 random bits, so there is
  nothing to guess and a slow password hash would add cost to each request without adding safety;
- a request costs one lookup by a unique index, whatever the number of keys; nothing is cached, so a revocation holds
  from the next request on.
"""

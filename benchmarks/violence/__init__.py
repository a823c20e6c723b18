"""Accounting under violence: redirects at a constant rate while one part of the product after the other is killed.

    load generator ──GET──▶ edge ─▶ segments ─▶ shards' streams ─▶ control ─▶ PostgreSQL
          │                  ╰────────── each of these gets a SIGKILL (`acts`) ──────╯
          ▼                                                                  │
     what it received ◀────────────── compared (`accounts`) ────────────▶ what is stored (`reading`)

Invariants:
- the client counts a redirect when it has read all of it; a request whose connection ended before that may have been
  answered, so it may be stored or not: received <= stored <= received + died;
- totals are compared once the product says that nothing is in flight, and it has as long as it needs to say so, within
  a deadline;
- what is killed comes back by the product's own supervision; no hand is lent.
"""

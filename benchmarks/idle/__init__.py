"""Ten thousand connections that idle: what each weighs in the server's memory, and whether the others feel them.

    start ─▶ warm up ─▶ load ─▶ open, ask once, idle ─▶ load ─▶ ask once more, close ─┐
                         ▲                                                            │
                         └──────────────────────── rounds ────────────────────────────┘

Invariants:
- each of them is answered before and after it idled, over one connection: none was dropped;
- both loads of a round are of one process, seconds apart.
"""

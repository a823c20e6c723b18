"""A whole stack with a million links: how long they take to load and to project, and what each one weighs.

    pointsman dev, in a directory and on ports of its own ─▶ pointsman link import ─▶ pointsman project --all
                                                                                          └▶ bytes a link in PostgreSQL,
                                                                                             in Redis and in L1

Invariants:
- only commands and addresses that operators have are used; nothing is written past them;
- what was loaded is asked for at the edge before its numbers are kept.
"""

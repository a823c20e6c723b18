"""The load generator: a small program in C, for what wrk cannot do.

    load.c ── paces: closed, open, bursts, held        slots.c ── connections, requests, answers
    links.c, answer.c ── HTTP                          wire.c ── plain or TLS            histogram.c ── latencies

`generator` compiles it when it is needed and reads what it reports.

Invariants:
- every answer is checked: its status, and that it leads where the link leads;
- at a constant rate latency counts from the time at which a request should have been sent;
- client addresses may be any of 127.0.0.0/8, so that one machine can stand for many clients;
- a run with an error, or with a request that got no answer, raises; what works beside another measurement reports it.
"""

"""Servers under load, one after the other on one core, with wrk on another: scenario -> JSON -> page.

    scenario ──▶ rivals, taking turns ──▶ start ─▶ verify answers ─▶ warm up ─▶ wrk ─▶ stop ──▶ results/macro.json
                                                                     └ CPU time of all its processes, from /proc

`scenarios` says what is measured, `rivals` how each server is started; to add one of either is to add a row to a table.

Invariants:
- every server of a scenario gets the same links, the same requests in the same order, the same core;
- wrk walks the links in a fixed cyclic order, so that a cache smaller than all of them never hits;
- a rival that answers from memory, or from Redis, has that checked against Redis's own count of hits;
- any answer but a redirect, any socket error, and any process that ends or appears during a run fails the benchmark.
"""

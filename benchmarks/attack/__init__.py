"""Attacks, while ordinary traffic is served and measured.

    a fresh edge ─▶ warm up ─▶ ordinary traffic alone ─▶ the attack begins ─▶ ordinary traffic under it ─▶ it ends

`attacks` is the table of them; `hostile` does what the load generator cannot. Ordinary traffic is a constant rate over
connections that are made anew now and then, from addresses of its own.

Invariants:
- every ordinary answer is checked, and none may be wrong or missing: else the benchmark fails;
- ordinary latency counts from the time at which a request should have been sent;
- an attacker gets what the load's core has left (SCHED_IDLE), so that what is seen is the server's part;
- an attack that has ended before the measurement, or has done nothing, fails the benchmark.
"""

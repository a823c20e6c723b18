"""Full load for minutes: memory stays flat, and nothing is left when the load has gone.

    start ─▶ warm up ─▶ full load, a sample every few seconds ─▶ the load goes ─▶ descriptors are as before it

The load asks for links and, once in a hundred, for what is none; its connections are made anew now and then.

Invariants:
- every answer is checked;
- memory is judged after a first part, in which caches and pools fill: see `flatness`;
- descriptors that the load left behind, and memory that grows, fail the benchmark.
"""

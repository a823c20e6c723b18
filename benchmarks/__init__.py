"""Benchmarks: `micro` times compiled functions beside plain Python, `macro` servers under load, `scale` a full stack,
`eviction` the policy of L1 on recorded requests.

`idle`, `attack` and `soak` look at the edge alone: ten thousand connections, hostile ones, minutes of full load. `load`
is the load generator of all that wrk cannot do. `violence` kills the product's parts under load and counts its clicks.

Owns benchmarks/results/ (JSON, one file a kind, not kept by git) and benchmarks/README.md, which `render` makes of it.

Invariants:
- a run that fails ends the benchmark with an error; it never becomes a zero or a gap in a table;
- what is compared was measured in one run, on the same cores, taking turns;
- results hold every measurement as it was taken; medians and ratios are computed when they are shown;
- no result names the machine, its user or a path of it.
"""


class BenchmarkError(Exception):
    """A benchmark could not be run, or what it measured is not what it says; the message tells what to do."""

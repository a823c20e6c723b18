"""Compiled functions beside plain Python, in one run, so that their ratio means something on any machine.

    test_*.py ──▶ pytest-benchmark ──▶ results/micro.json ──▶ check_ratio: fails under the least ratios it states

`plain` is the same function as one would write it without a compiler. Before anything is timed, both sides must give
the same results for the same inputs.
"""

"""Clicks from the stream to committed rollups: how many a second, what each costs whom, and how fast they are read.

    traffic ─▶ frames ─▶ stream of a shard ─▶ control, alone on a core ─▶ PostgreSQL, on the other core with Redis
                          filled beforehand       └ CPU of each, by /proc, over the clicks of the stream

Then a large population of clicks and links is brought in the same way; tables are weighed and statistics asked for.
"""

"""Real servers for tests: PostgreSQL clusters and Redis shards in temporary directories, on free ports.

They are on a leash: they end with the process that started them, even if it is killed. Start them from the main thread
(a fixture, a test's own body), because the kernel ties the leash to the thread.
"""

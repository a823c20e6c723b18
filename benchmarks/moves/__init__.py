"""How fast links are copied from one shard to another, and what the audit of shards costs."""

"""How fast links are copied from one shard to another."""

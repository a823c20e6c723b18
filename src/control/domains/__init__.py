"""Short domains: which host stands for which domain id. Tables: domains, installation.domains_revision.

Invariants:
- there is exactly one default domain; its host follows POINTSMAN_SHORT_URL, its id never changes;
- every change of the table raises the revision, by which the copies on the shards are known to be old.
"""

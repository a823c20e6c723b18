"""Tags: what links are grouped by, in lists and in statistics. Tables: tags; link_tags, which triggers keep.

Invariants:
- two names that differ in letter case alone, or in how Unicode spells the same characters, are one tag; it keeps the
  name that it was first given;
- `links.tags` is the truth of which tags a link has; link_tags says the same by tag, for links that are not deleted;
- a tag that a link has exists: whoever gives it to a link locks its row first, and only a tag of no link is deleted;
- a transaction that locks tags and links locks the tags first, so that no two wait for each other.
"""

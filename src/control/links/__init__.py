"""Links: codes and the targets that they redirect to. Tables: links, code_numbers; writes outbox.

Invariants:
- every change raises the link's version and writes its outbox row in the same statement;
- versions rise per (domain, code), also over deletion and creation anew: a deleted link keeps its row until it has been
  gone for a week, long after its tombstones (a day) and anything in flight;
- a stored target is exactly what is sent in Location: the serialised URL, bytes 0x21-0x7e (`target.py`).
"""

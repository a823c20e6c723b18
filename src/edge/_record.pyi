"""The link record, decoded for the hot path."""

def decode(data: bytes) -> tuple[int, bytes, int, int, int | None] | None:
    """(status, target, version, link id, cache lifetime in seconds or None) of a link's record, None for a tombstone.

    Raises wire.FormatError for anything that wire.record.decode refuses.
    """

"""The edge's error for operators."""


class EdgeError(Exception):
    """The edge cannot start, or cannot change as it was asked to; the message tells the operator why."""

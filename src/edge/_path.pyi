"""What a request's path asks for."""

import enum

class PathKind(enum.IntEnum):
    """What a path is."""

    NO_CODE = 0
    CODE_PATH = 1
    ROOT = 2
    ROBOTS = 3
    FAVICON = 4
    WELL_KNOWN = 5

def code_of(path: bytes) -> bytes | None:
    """The code that the path names, percent-encoded or not; None if it names none.

    A code is 1 to 64 of the characters 0-9, A-Z, a-z, "_" and "-". There is one way to it: no slash behind it, no dot
    segment before it, nothing encoded twice.
    """

def kind_of(path: bytes) -> PathKind:
    """What the path is, percent-encoded or not; PathKind.CODE_PATH just if code_of finds a code."""

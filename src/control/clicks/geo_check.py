"""python -m control.clicks.geo_check FILE: read a database of places from its first network to its last.

A process of its own, because the compiled reader believes what it reads: a damaged file can end the process that looks
an address up in it. What was read here to its end cannot: a look-up reads nothing else.
"""

import sys

import maxminddb


def main(path: str) -> int:
    """The exit code: 0 it is whole, 1 with the reason on stderr; a signal is an answer, too."""
    try:
        with maxminddb.open_database(path, maxminddb.MODE_MMAP_EXT) as reader:
            for _ in reader:
                pass
    except (maxminddb.InvalidDatabaseError, ValueError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201  (its reader is the process that started this one)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

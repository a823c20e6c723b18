"""Random clicks, a few of each kind, that share their texts as real ones do."""

import random

from wire.click import Click, Flag

DAY = 19_700
DAY_MS = 86_400_000
AGENTS = (b"Chrome/Linux/desktop", b"Safari/iOS/mobile", b"curl", b"bot/Linux/desktop", b"preview", b"\xff\xfe", b"")


def random_clicks(choose: random.Random, count: int, *, values: int = 30, links: int = 20) -> list[Click]:
    """With up to `values` different referrers, codes and the like; over three days."""
    return [_random_click(choose, values, links) for _ in range(count)]


def _random_click(choose: random.Random, values: int, links: int) -> Click:
    is_unknown = choose.random() < 0.2
    link_id = 0 if is_unknown else choose.randint(1, links) * choose.choice((1, 10**11))
    flags = choose.choice((0, 0, 0, Flag.HEAD, Flag.TLS, Flag.STALE))
    return Click(
        time_ms=DAY * DAY_MS + choose.randrange(3 * DAY_MS),
        link_id=link_id,
        domain_id=choose.randint(1, 3) if is_unknown else link_id % 3 + 1,
        status=404 if is_unknown else 302,
        flags=flags | (Flag.UNKNOWN_CODE if is_unknown else 0),
        user_agent=choose.choice(AGENTS),
        referrer=choose.choice((b"", b"r%d" % choose.randrange(values), b"r%d" % min(9, choose.randrange(values)))),
        query=choose.choice((b"", b"", b"s%d&m&c" % choose.randrange(values))),
        address=choose.choice((b"", choose.randbytes(4), choose.randbytes(16), b"\1\2\3\4")),
        code=choose.choice((b"wp-login.php", b"c%d" % choose.randrange(values), b"\xff\0" * 30)) if is_unknown else b"",
    )

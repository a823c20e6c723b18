"""The bytes of day documents: pinned, small, bounded; what is malformed is refused."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.clicks._fold import DIMENSION_NAMES, DOCUMENT_BYTES_MAX, FoldError, Groups, summarise
from control.clicks._siphash import siphash
from control.clicks._sketch import fold_sketches
from tests.control.clicks.clicks import DAY, DAY_MS, random_clicks
from tests.control.clicks.folding import enriched, fold
from tests.control.clicks.plain_fold import SALT, VISITOR_KEY, PlainEnricher, PlainFacts
from wire.click import Click, Flag

GOLDEN = Path(__file__).parent / "golden"
TYPICAL = Click(
    time_ms=DAY * DAY_MS + 43_200_000,
    link_id=1_000_000,
    domain_id=1,
    status=302,
    user_agent=b"Chrome Mobile/Android/smartphone",
    referrer=b"www.google.com",
    address=b"\xc0\0\2\1",
)
UNKNOWN = Click(
    time_ms=DAY * DAY_MS, link_id=0, domain_id=1, status=404, flags=int(Flag.UNKNOWN_CODE), code=b"wp-login.php"
)


class LongEnricher(PlainEnricher):
    """Every value is as long as it can be; all answers are the number that the text is."""

    def __init__(self) -> None:
        super().__init__()
        self.values += [f"{number:064}" for number in range(5000)]

    def agent(self, text: bytes) -> tuple[int, int, int, int]:
        """Humans and bots, so that both count in each slot."""
        return int(text), int(text), int(text), int(text) % 2

    def referrer(self, text: bytes) -> int:
        """The number."""
        return int(text)

    def campaign(self, query: bytes) -> tuple[int, int, int]:
        """The number, three times."""
        return int(query), int(query), int(query)

    def place(self, address: bytes) -> tuple[int, int]:
        """The address as a number."""
        return int.from_bytes(address, "big"), int.from_bytes(address, "big")


def _groups(clicks: list[Click]) -> Groups:
    return enriched(clicks, {}, PlainEnricher()).links()


def _golden_documents() -> dict[str, bytes]:
    common = fold([TYPICAL, UNKNOWN], {}, PlainEnricher())
    full = fold(random_clicks(random.Random(7), 4000, values=900, links=5), {1: PlainFacts(tags=(3,))}, PlainEnricher())
    return {
        "link-one-click.bin": common[0, 1_000_000, DAY],
        "unknown-one-click.bin": common[4, 1, DAY],
        "link-many-clicks.bin": full[0, 1, DAY],
        "account-many-clicks.bin": full[3, 0, DAY],
    }


@pytest.mark.parametrize("name", ["link-one-click", "unknown-one-click", "link-many-clicks", "account-many-clicks"])
def test_bytes_are_those_of_the_golden_file(name: str) -> None:
    """Documents outlive builds: another layout is another version, which must still read these."""
    assert (GOLDEN / f"{name}.bin").read_bytes() == _golden_documents()[f"{name}.bin"]


def test_a_document_reads_as_its_layout_says() -> None:
    """The smallest interesting one, byte by byte."""
    head = Click(time_ms=DAY * DAY_MS, link_id=1_000_000, domain_id=1, status=302, flags=int(Flag.HEAD))
    (document,) = _groups([TYPICAL, TYPICAL, head]).merge([None])
    agent = siphash(TYPICAL.user_agent, 0, 0).to_bytes(8, "little")
    visitor = siphash(agent + TYPICAL.address, SALT, VISITOR_KEY)
    assert document == (
        b"\1\xff\1\0\1"
        b"\1\x30\2\0"
        + fold_sketches([], [visitor])
        + b"\1\2C3\2\1\6City 0\2\1\rChrome Mobile\2\1\7Android\2\1\nsmartphone\2\1\x0ewww.google.com\2"
        + b"\1\0\2" * 3
    )


def test_the_common_document_is_small() -> None:
    """Most links have one click on most days: a row of a hundred bytes."""
    (document,) = _groups([TYPICAL]).merge([None])
    assert len(document) <= 100


def test_no_clicks_make_a_document_larger_than_stated() -> None:
    """The longest values, all different, in every slot, merged again and again."""
    enricher = LongEnricher()
    documents: dict[tuple[int, int, int], bytes] = {}
    for start in range(1, 5000, 1000):
        clicks = [
            Click(
                time_ms=DAY * DAY_MS + number % 96 * 900_000,
                link_id=1,
                domain_id=1,
                status=302,
                user_agent=b"%d" % number,
                referrer=b"%d" % number,
                query=b"%d" % number,
                address=number.to_bytes(4, "big"),
            )
            for number in range(start, start + 1000)
        ]
        documents = fold(clicks, {1: PlainFacts(tags=(1,))}, enricher, documents)
    for (scope, _, _), document in documents.items():
        assert 0.5 * DOCUMENT_BYTES_MAX[scope] < len(document) <= DOCUMENT_BYTES_MAX[scope]
    assert DOCUMENT_BYTES_MAX[0] < 37 * 1024
    assert DOCUMENT_BYTES_MAX[3] < 365_000


@pytest.mark.parametrize(
    ("at", "replacement", "message"),
    [
        (0, b"\2", "format version"),
        (1, b"\xff\x09", "dimensions that this build does not know"),
        (3, b"\x80\0", "a count"),
        (3, b"\xff" * 7 + b"\1", "a count"),
        (6, b"\x60", "slots"),
        (7, b"\0", "empty"),
        (9, b"\2", "sketch"),
        (13, b"\xf5\3", "too many values"),
        (14, b"\x41", "too long"),
        (17, b"\0", "no clicks"),
        (17, b"\2", "more clicks than the document"),
        (83, b"\1\0", "bytes follow"),
    ],
)
def test_what_is_malformed_is_refused(at: int, replacement: bytes, message: str) -> None:
    """By the reader of merges and by that of summaries alike."""
    groups = _groups([TYPICAL])
    (document,) = groups.merge([None])
    size = 1 if at != 1 else 2
    document = document[:at] + replacement + document[at + size :] if at < 80 else document + b"\0"
    with pytest.raises(FoldError, match=message) as raised:
        summarise([(DAY, document)])
    assert raised.value.code == "value"
    with pytest.raises(FoldError):
        groups.merge([document])


def test_values_out_of_order_or_twice_are_refused() -> None:
    """A document has one form."""
    head = b"\1\1\0\0\0" + b"\1\0\3\0" + b"\0"
    assert summarise([(1, head + b"\2\1a\1\1b\2")]).dimensions == {"country": ([("b", 2), ("a", 1)], 0)}
    for values in (b"\2\1b\1\1a\1", b"\2\1a\1\1a\1", b"\2\2aa\1\1b\1"):
        with pytest.raises(FoldError, match="order"):
            summarise([(1, head + values)])


def test_a_document_from_before_a_dimension_has_it_as_other() -> None:
    """So a dimension can be added without writing anything anew."""
    old = b"\1\1\0\0\0" + b"\1\x30\3\0" + b"\0" + b"\1\2C3\3"
    (document,) = _groups([TYPICAL]).merge([old])
    summary = summarise([(DAY, document)])
    assert set(summary.dimensions) == set(DIMENSION_NAMES) - {"link", "code"}
    assert summary.dimensions["country"] == ([("C3", 4)], 0)
    assert summary.dimensions["city"] == ([("City 0", 1)], 3)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_a_damaged_document_is_refused_or_is_another_document(seed: int, damages: int) -> None:
    """Nothing else happens; and what a merge makes of it is a document again."""
    choose = random.Random(seed)
    enricher = PlainEnricher()
    clicks = random_clicks(choose, choose.choice((1, 5, 300)), links=1)
    groups = enriched(clicks, {}, enricher).links()
    damaged = [_damage(choose, document, damages) for document in groups.merge([None] * len(groups.days))]
    for document in damaged:
        try:
            summary = summarise([(DAY, document)])
        except FoldError:
            continue
        for values, other in summary.dimensions.values():
            assert sum(count for _, count in values) + other == summary.humans + summary.bots
    try:
        merged = groups.merge(damaged)
    except FoldError:
        return
    summarise(list(zip(groups.days, merged, strict=True)))


def _damage(choose: random.Random, document: bytes, damages: int) -> bytes:
    data = bytearray(document)
    for _ in range(damages):
        at = choose.randrange(len(data) + 1)
        end = min(len(data), at + choose.choice((1, 1, 2, 8)))
        if choose.random() < 0.2:
            del data[at:end]
        else:
            data[at:end] = bytes(choose.choice((0, 1, 127, 128, 255, choose.randrange(256))) for _ in range(end - at))
    return bytes(data)

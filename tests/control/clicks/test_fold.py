"""From frames to day documents: beside the plain fold, whole and split, and at the limits."""

import random
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.clicks._fold import DIMENSION_NAMES, DOCUMENT_BYTES_MAX, VALUES_KEPT, Batch, FoldError, Groups, summarise
from tests.control.clicks.clicks import DAY, DAY_MS, random_clicks
from tests.control.clicks.folding import enriched, fold
from tests.control.clicks.plain_fold import KEPT, Key, PlainEnricher, PlainFacts, check_day, plain_fold
from wire import click
from wire.click import Click, Flag


def _facts(enricher: PlainEnricher) -> dict[int, PlainFacts]:
    return {
        1: PlainFacts(tags=(7, 9), campaign=(enricher.number("news"), 0, enricher.number("june"))),
        2: PlainFacts(tags=(9,)),
        3: PlainFacts(campaign=(0, enricher.number("mail"), 0)),
    }


def _check(documents: dict[Key, bytes], clicks: list[Click]) -> None:
    enricher = PlainEnricher()
    plain = plain_fold(clicks, _facts(enricher), enricher)
    assert plain.keys() == documents.keys()
    for (scope, subject, day), document in documents.items():
        check_day(plain[scope, subject, day], scope, day, summarise([(day, document)]))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 8))
def test_any_split_into_batches_gives_what_the_plain_fold_does(seed: int, count: int, parts: int) -> None:
    """Merging is associative: documents are the same, byte by byte, whether their clicks came at once or in parts."""
    choose = random.Random(seed)
    clicks = random_clicks(choose, count)
    enricher = PlainEnricher()
    facts = _facts(enricher)
    whole = fold(clicks, facts, enricher)
    _check(whole, clicks)
    shuffled = choose.sample(clicks, count)
    cuts = sorted(choose.randrange(count + 1) for _ in range(parts - 1))
    documents: dict[Key, bytes] = {}
    for start, end in zip([0, *cuts], [*cuts, count], strict=True):
        documents = fold(shuffled[start:end], facts, enricher, documents)
    assert whole == documents


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_counts_are_exact_when_there_are_more_values_than_are_kept(seed: int, parts: int) -> None:
    """The rest is in `other`: sum(values) + other == clicks in every dimension, and no document exceeds its bytes."""
    choose = random.Random(seed)
    clicks = random_clicks(choose, 3000, values=2000, links=1500)
    enricher = PlainEnricher()
    documents: dict[Key, bytes] = {}
    for part in range(parts):
        documents = fold(clicks[part::parts], {}, enricher, documents)
    plain = plain_fold(clicks, {}, enricher)
    assert plain.keys() == documents.keys()
    for (scope, subject, day), document in documents.items():
        summary = summarise([(day, document)])
        expected = plain[scope, subject, day]
        assert len(document) <= DOCUMENT_BYTES_MAX[scope]
        assert (summary.humans, summary.bots) == (expected.kinds["human"], expected.kinds["bot"])
        for name, (values, other) in summary.dimensions.items():
            assert sum(count for _, count in values) + other == expected.clicks
            assert len(values) == min(KEPT[scope], len(expected.values[name]))
            assert all(count <= expected.values[name][value] for value, count in values)


def test_a_days_most_clicked_links_are_exact_however_late_they_come_in() -> None:
    """The account's document takes a link's count from the link's own: what it missed before is not missing."""
    many = [_click(link_id) for link_id in range(1, 601)]
    enricher = PlainEnricher()
    documents = fold(many, {}, enricher)
    documents = fold([_click(600), _click(600)], {}, enricher, documents)
    values, other = summarise([(DAY, documents[3, 0, DAY])]).dimensions["link"]
    assert values[0] == ("600", 3)
    assert len(values) == VALUES_KEPT[3] == 500
    assert sum(count for _, count in values) + other == 602


def test_links_give_way_where_their_documents_say_more_than_the_accounts() -> None:
    """An account's document that was lost or restored alone never counts more clicks of links than clicks."""
    enricher = PlainEnricher()
    documents = fold([_click(link_id) for link_id in (1, 1, 1, 1, 2)], {}, enricher)
    del documents[3, 0, DAY]
    documents = fold([_click(link_id) for link_id in (1, 2, 3)], {}, enricher, documents)
    assert summarise([(DAY, documents[3, 0, DAY])]).dimensions["link"] == ([("2", 2), ("3", 1)], 0)


def test_each_text_is_asked_for_once_for_all_frames() -> None:
    """So is an address; the order of frames does not matter."""
    enricher = PlainEnricher()
    one = _click(1, user_agent=b"Chrome", referrer=b"r", query=b"q", address=bytes(4))
    enriched([one] * 2000, {}, enricher)
    assert set(enricher.asked.values()) == {1}
    assert len(enricher.asked) == 4


def test_a_day_without_a_salt_counts_no_visitors() -> None:
    """Its clicks are counted all the same."""
    batch = Batch(10)
    batch.add(click.encode([_click(1, address=bytes(4))]))
    batch.enrich(PlainEnricher(), {}, {})
    (document,) = batch.links().merge([None])
    summary = summarise([(DAY, document)])
    assert (summary.humans, summary.visitors) == (1, {})


def test_visitors_are_addresses_with_browsers_under_the_days_salt() -> None:
    """Another address or another User-Agent is another visitor; under another salt the same one is not known again."""
    addresses = [bytes(4), bytes(16), b"\1\2\3\4"]
    clicks = [_click(1, user_agent=agent, address=address) for agent in (b"a", b"b") for address in addresses] * 2
    documents = []
    for salt in (1, -1):
        batch = Batch(100)
        batch.add(click.encode(clicks))
        batch.enrich(PlainEnricher(), {}, {DAY: salt})
        documents += batch.links().merge([None])
    assert [summarise([(DAY, document)]).visitors for document in documents] == [{DAY: 6}, {DAY: 6}]
    assert summarise([(DAY, document) for document in documents]).visitors == {DAY: 12}


def test_totals_are_by_link() -> None:
    """Over all days, with the first and the last instant."""
    clicks = [
        _click(5, time_ms=DAY * DAY_MS + 7),
        _click(5, time_ms=(DAY + 1) * DAY_MS, user_agent=b"bot"),
        _click(5, time_ms=DAY * DAY_MS + 3, user_agent=b"preview"),
        _click(4, time_ms=DAY * DAY_MS, flags=int(Flag.HEAD), user_agent=b"bot"),
    ]
    batch = enriched(clicks, {}, PlainEnricher())
    start = DAY * DAY_MS
    assert batch.totals() == [(4, 0, 0, 0, 1, start, start), (5, 1, 1, 1, 0, start + 3, start + DAY_MS)]
    assert batch.link_ids() == [4, 5]
    assert batch.days() == [DAY, DAY + 1]


def test_an_instant_no_date_can_hold_counts_at_the_end_of_the_last_that_can() -> None:
    """An edge whose clock is out of its mind loses no click."""
    batch = enriched([_click(1, time_ms=2**63 - 1)], {}, PlainEnricher())
    assert batch.days() == [2_932_896]
    assert batch.samples(1)[0]["at_ms"] == 253_402_300_799_999


def test_a_frame_that_does_not_fit_changes_nothing() -> None:
    """It goes into the next batch."""
    batch = Batch(3)
    body = click.encode([_click(1), _click(2)])
    assert batch.add(body) == (2, 0, 0)
    with pytest.raises(FoldError, match="room for 1") as raised:
        batch.add(body)
    assert raised.value.code == "full"
    assert (len(batch), batch.link_ids()) == (2, [1, 2])


def test_a_malformed_document_is_named_and_changes_nothing() -> None:
    """The others of its merge are not merged either; the right ones can be given afterwards."""
    groups = enriched([_click(1), _click(2)], {}, PlainEnricher()).links()
    with pytest.raises(FoldError, match=f"link 2, day {DAY}: its format version"):
        groups.merge([None, b"\2\0\0"])
    assert groups.clicks == []
    first, second = groups.faults([b"\1\1\2\0\0\0\0\0", None])
    assert second is None
    assert "dimensions that documents of its scope do not have" in str(first)
    assert len(groups.merge([None, None])) == 2
    assert groups.clicks == [1, 1]


def test_a_document_of_another_scope_is_refused() -> None:
    """The account's document has a dimension that a link's has not."""
    enricher = PlainEnricher()
    documents = fold([_click(1)], {}, enricher)
    with pytest.raises(FoldError, match="dimensions"):
        enriched([_click(1)], {}, enricher).links().merge([documents[3, 0, DAY]])


def test_what_could_be_written_and_not_read_again_is_refused() -> None:
    """Counts have 49 bits, those of previews and of HEAD requests too."""
    most = b"\xff" * 6 + b"\x7f"
    for previews, heads, more in ((most, b"\0", _click(1, user_agent=b"preview")), (b"\0", most, _click(1, flags=1))):
        full = b"\1\0\0" + previews + heads + b"\0\0"
        assert summarise([(DAY, full)]).previews + summarise([(DAY, full)]).heads == 2**49 - 1
        with pytest.raises(FoldError, match="more clicks than can be held"):
            enriched([more], {}, PlainEnricher()).links().merge([full])


def test_what_an_enricher_must_not_say_is_refused() -> None:
    """A value too long for a document or with a NUL, a number without a value, a class that there is not."""

    class Long(PlainEnricher):
        def referrer(self, text: bytes) -> int:
            return self.number("ü" * 33)

    class Unknown(PlainEnricher):
        def referrer(self, text: bytes) -> int:
            return 1000

    class Odd(PlainEnricher):
        def agent(self, text: bytes) -> tuple[int, int, int, int]:
            return 0, 0, 0, 3

    class Binary(PlainEnricher):
        def referrer(self, text: bytes) -> int:
            self.values.append("a\0b")
            return len(self.values) - 1

    for enricher in (Long(), Unknown(), Odd(), Binary()):
        with pytest.raises(FoldError):
            enriched([_click(1, referrer=b"r")], {}, enricher)


def test_equal_values_of_an_enricher_are_one() -> None:
    """Two numbers of one text are one value of a document."""

    class Twice(PlainEnricher):
        def __init__(self) -> None:
            super().__init__()
            self.values = ["", "a", "a"]

        def referrer(self, text: bytes) -> int:
            return 1 if text == b"1" else 2

    clicks = [_click(1, referrer=b"1"), _click(1, referrer=b"2")]
    (document,) = enriched(clicks, {}, Twice()).links().merge([None])
    assert summarise([(DAY, document)]).dimensions["referrer"] == ([("a", 2)], 0)


def test_the_order_of_calls_is_kept() -> None:
    """Enriched once, before anything is counted and after everything is added; links merged before their scopes."""
    batch = Batch(10)
    batch.add(click.encode([_click(1)]))
    for method in (batch.links, batch.totals, batch.rows):
        with pytest.raises(RuntimeError, match="enriched"):
            method()
    batch.enrich(PlainEnricher(), {}, {})
    with pytest.raises(RuntimeError):
        batch.add(click.encode([_click(1)]))
    with pytest.raises(RuntimeError):
        batch.enrich(PlainEnricher(), {}, {})
    with pytest.raises(ValueError, match="merged"):
        batch.scopes(batch.links())
    with pytest.raises(ValueError, match="2 documents for 1 groups"):
        batch.links().merge([None, None])


def test_documents_may_be_merged_in_parts() -> None:
    """A batch may touch more of them than memory has room for; in order, so that no part is forgotten."""
    clicks = [_click(link_id) for link_id in (1, 1, 2, 3, 3, 3)]
    groups = enriched(clicks, {}, PlainEnricher()).links()
    whole = enriched(clicks, {}, PlainEnricher()).links().merge([None] * 3)
    with pytest.raises(ValueError, match="when 0 are merged"):
        groups.merge([None], 1)
    assert groups.merge([None, None]) + groups.merge([None], 2) == whole
    assert groups.clicks == [2, 1, 3]
    assert groups.merge([None], 1) == whole[1:2]
    with pytest.raises(ValueError, match="2 documents for 1 groups"):
        groups.merge([None, None], 2)
    assert groups.faults([b"\2\0\0"], 2) != [None]


def test_scopes_without_links_leave_that_dimension_as_it_is() -> None:
    """Its clicks are in `other`."""
    scopes = enriched([_click(1)], {}, PlainEnricher()).scopes(None)
    (document,) = scopes[3].merge([None])
    assert summarise([(DAY, document)]).dimensions["link"] == ([], 1)
    assert set(DIMENSION_NAMES) - set(summarise([(DAY, document)]).dimensions) == {"code"}


def test_others_run_while_a_batch_is_merged() -> None:
    """The API is answered from the same process: no merge holds the interpreter from its begin to its end."""
    groups = enriched([_click(link_id) for link_id in range(1, 60_001)], {}, PlainEnricher()).links()
    # On a busy machine it may be somebody else's turn when it could be ours: one merge of ten shows it.
    assert any(_is_shared(groups) for _ in range(10))
    assert len(groups.clicks) == 60_000


def _is_shared(groups: Groups) -> bool:
    """Whether this thread ran while another one merged: no pause of its own took half of the time."""
    thread = threading.Thread(target=groups.merge, args=([None] * 60_000,))
    longest_s = 0.0
    started_s = last_s = time.perf_counter()
    thread.start()
    while thread.is_alive():
        now_s = time.perf_counter()
        longest_s, last_s = max(longest_s, now_s - last_s), now_s
    thread.join()
    return longest_s < (last_s - started_s) / 2


def test_nothing_in_nothing_out() -> None:
    """An empty batch is a batch."""
    batch = enriched([], {}, PlainEnricher())
    assert batch.links().merge([]) == []
    assert (batch.totals(), batch.samples(5), batch.link_ids(), batch.days()) == ([], [], [], [])


def _click(
    link_id: int,
    *,
    time_ms: int = DAY * DAY_MS,
    flags: int = 0,
    user_agent: bytes = b"",
    referrer: bytes = b"",
    query: bytes = b"",
    address: bytes = b"",
) -> Click:
    return Click(
        time_ms=time_ms,
        link_id=link_id,
        domain_id=1,
        status=302,
        flags=flags,
        user_agent=user_agent,
        referrer=referrer,
        query=query,
        address=address,
    )

"""Day documents summed up."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.clicks._fold import FoldError, summarise
from tests.control.clicks.clicks import random_clicks
from tests.control.clicks.folding import fold
from tests.control.clicks.plain_fold import PlainEnricher, check_day, plain_fold, top


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 200))
def test_days_add_up(seed: int, count: int) -> None:
    """Over all days of the account, in whatever order they are given."""
    choose = random.Random(seed)
    clicks = random_clicks(choose, count)
    enricher = PlainEnricher()
    documents = [(day, data) for (scope, _, day), data in fold(clicks, {}, enricher).items() if scope == 3]
    choose.shuffle(documents)
    plain = {day: value for (scope, _, day), value in plain_fold(clicks, {}, enricher).items() if scope == 3}
    summary = summarise(documents)
    assert summary.humans == sum(day.kinds["human"] for day in plain.values())
    assert summary.heads == sum(day.kinds["head"] for day in plain.values())
    assert summary.slots == {
        (date, slot): tuple(counts) for date, day in plain.items() for slot, counts in day.slots.items()
    }
    assert summary.visitors == {date: day.visitors_estimate for date, day in plain.items() if day.visitors}
    for name, (values, other) in summary.dimensions.items():
        together = sum((day.values[name] for day in plain.values()), Counter[str]())
        assert (values, other) == top(together, 500)


def test_documents_of_one_day_share_their_visitors() -> None:
    """The links of a list have together as many visitors as there are, not as many as their sum."""
    clicks = random_clicks(random.Random(1), 400)
    documents = fold(clicks, {}, PlainEnricher())
    plain = plain_fold(clicks, {}, PlainEnricher())
    for (scope, subject, day), expected in plain.items():
        if scope == 3:
            links = [(date, data) for (of, _, date), data in documents.items() if of == 0 and date == day]
            summary = summarise(links)
            del summary.dimensions["country"]
            expected.values["link"].clear()
            check_day(expected, 3, day, summary)
            assert summary.visitors == summarise([(day, documents[scope, subject, day])]).visitors


def test_only_the_most_clicked_values_are_given() -> None:
    """As many as are asked for; of equally clicked ones the shorter, then the lesser; the rest is in `other`."""
    head = b"\1\1\0\0\0" + b"\1\0\x0a\0" + b"\0"
    documents = [(1, head + b"\3\1b\2\1c\2\2aa\4"), (2, head + b"\2\1c\2\1d\2")]
    assert summarise(documents).dimensions["country"] == ([("c", 4), ("aa", 4), ("b", 2), ("d", 2)], 8)
    assert summarise(documents, 3).dimensions["country"] == ([("c", 4), ("aa", 4), ("b", 2)], 10)
    assert summarise(documents, values_max=0).dimensions["country"] == ([], 20)


def test_values_that_are_no_text_are_shown_as_such() -> None:
    """A document is believed to have UTF-8; what has not is replaced, never an error."""
    assert summarise([(1, b"\1\1\0\0\0\1\0\1\0\0\1\1\xff\1")]).dimensions == {"country": ([("\ufffd", 1)], 0)}


def test_nothing_is_a_summary_too() -> None:
    """All zeros, no dimension."""
    assert summarise([]) == (0, 0, 0, 0, {}, {}, {})


def test_a_malformed_document_names_its_day() -> None:
    """A year's page says which row it is."""
    with pytest.raises(FoldError, match="document of day 19700: it is shorter"):
        summarise([(19_700, b"")])

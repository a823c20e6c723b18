"""Values have numbers, in bounds."""

from hypothesis import given
from hypothesis import strategies as st

from control.clicks.values import Values, clean


def test_same_text_has_the_same_number() -> None:
    """0 is the empty text."""
    values = Values(10)
    assert [values.number(text) for text in ("", "a", "b", "a", " a\n")] == [0, 1, 2, 1, 1]
    assert values.texts == ["", "a", "b"]


def test_full_table_answers_unknown_and_counts() -> None:
    """What it has keeps its number."""
    values = Values(3)
    assert [values.number(text) for text in "abcda"] == [1, 2, 0, 0, 1]
    assert values.dropped == 2


def test_emptied_table_leaves_the_old_list() -> None:
    """Who keeps it can read the numbers of before."""
    values = Values(10)
    number = values.number("a")
    texts = values.texts
    values.clear()
    assert texts[number] == "a"
    assert values.number("b") == number
    assert values.texts == ["", "b"]


@given(text=st.text(st.characters(codec=None), max_size=100))
def test_any_text_is_cleaned(text: str) -> None:
    """To valid UTF-8 of at most 64 bytes that cleaning does not change again."""
    cleaned = clean(text)
    assert len(cleaned.encode("utf-8")) <= 64
    assert clean(cleaned) == cleaned

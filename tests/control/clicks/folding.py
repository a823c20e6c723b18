"""Batches for tests: clicks to documents, as the consumer does it."""

from collections.abc import Iterable, Mapping, Sequence

from control.clicks._fold import Batch
from tests.control.clicks.plain_fold import SALT, Key, PlainEnricher, PlainFacts
from wire import click
from wire.click import Click

FRAME_CLICKS = 400  # few enough for a frame, whatever their texts


def frames(clicks: Sequence[Click]) -> list[bytes]:
    """Bodies with these clicks, in order."""
    return [click.encode(clicks[at : at + FRAME_CLICKS]) for at in range(0, len(clicks), FRAME_CLICKS)]


def enriched(clicks: Sequence[Click], facts: Mapping[int, PlainFacts], enricher: PlainEnricher) -> Batch:
    """A batch of these clicks, ready to be counted."""
    batch = Batch(len(clicks))
    for body in frames(clicks):
        batch.add(body)
    batch.enrich(enricher, facts, dict.fromkeys(batch.days(), SALT))
    return batch


def fold(
    clicks: Sequence[Click],
    facts: Mapping[int, PlainFacts],
    enricher: PlainEnricher,
    documents: dict[Key, bytes] | None = None,
) -> dict[Key, bytes]:
    """The documents with these clicks merged into them, by scope, subject and day."""
    merged = dict(documents or {})
    batch = enriched(clicks, facts, enricher)
    links = batch.links()
    _put(merged, 0, links.subjects, links.days, links.merge(_read(merged, 0, links.subjects, links.days)))
    for scope, groups in batch.scopes(links).items():
        before = _read(merged, scope, groups.subjects, groups.days)
        _put(merged, scope, groups.subjects, groups.days, groups.merge(before))
    return merged


def _read(
    documents: Mapping[Key, bytes], scope: int, subjects: Iterable[int], days: Iterable[int]
) -> list[bytes | None]:
    return [documents.get((scope, subject, day)) for subject, day in zip(subjects, days, strict=True)]


def _put(
    documents: dict[Key, bytes], scope: int, subjects: Iterable[int], days: Iterable[int], merged: Iterable[bytes]
) -> None:
    documents.update(
        ((scope, subject, day), document) for subject, day, document in zip(subjects, days, merged, strict=True)
    )

"""Clicks of frames, decoded, enriched, grouped and merged into day documents; and those documents summed up.

batch = Batch(100_000)
for body in bodies:
    batch.add(body)
batch.enrich(enricher, facts, salts)        # facts of batch.link_ids(), salts of batch.days()
links = batch.links()
written = links.merge(read(links.subjects, links.days))
for scope, groups in batch.scopes(links).items():
    ...
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from wire.errors import FormatError

LINK_SCOPE: Final = 0
DOMAIN_SCOPE: Final = 1
TAG_SCOPE: Final = 2
ACCOUNT_SCOPE: Final = 3
UNKNOWN_SCOPE: Final = 4
# The most values of a dimension that a document of a scope keeps, by scope; the clicks of the rest are its `other`.
VALUES_KEPT: Final[tuple[int, int, int, int, int]]
# No document of a scope is larger, whatever its clicks say, by scope.
DOCUMENT_BYTES_MAX: Final[tuple[int, int, int, int, int]]
# By number; which scope has which: all but link and code in 0..3, link in 1 and 3, code alone in 4.
DIMENSION_NAMES: Final[tuple[str, ...]]

class FoldError(FormatError):
    """A frame's body or a day document that is not what its format says, or values that cannot be counted.

    `code`: "truncated" and "value" as of `wire.click.decode`; "full": the batch has no room for the frame, which may be
    quite right.
    """

class _Enricher(Protocol):
    """What is needed of `control.clicks.enrichment.Enricher`."""

    @property
    def values(self) -> list[str]: ...
    def agent(self, text: bytes, /) -> tuple[int, int, int, int]: ...
    def referrer(self, text: bytes, /) -> int: ...
    def campaign(self, query: bytes, /) -> tuple[int, int, int]: ...
    def place(self, address: bytes, /) -> tuple[int, int]: ...

class _Facts(Protocol):
    """What is needed of `control.clicks.enrichment.Facts`."""

    @property
    def tags(self) -> tuple[int, ...]: ...
    @property
    def campaign(self) -> tuple[int, int, int]: ...

class Added(NamedTuple):
    """What `Batch.add` took."""

    clicks: int  # with a link, HEAD requests among them
    unknown: int  # of codes that do not exist
    heads: int  # HEAD requests with a link

class Batch:
    """Clicks of some frames. `add` any number of times, `enrich` once, then what is asked of them in any order."""

    def __init__(self, clicks_max: int) -> None: ...
    def add(self, body: bytes) -> Added:
        """Take the clicks of a frame's body (`wire.click`); raises FoldError, and then nothing of it was taken."""

    def __len__(self) -> int:
        """All that was taken, unknown codes among them."""

    def link_ids(self) -> list[int]:
        """Ascending, each once."""

    def days(self) -> list[int]:
        """Days since 1970 (UTC), ascending, each once. An instant after the year 9999 counts as its end."""

    def enrich(self, enricher: _Enricher, facts: Mapping[int, _Facts], salts: Mapping[int, int]) -> None:
        """Say of each click what it was. `enricher` has begun a batch; its values have at most 64 bytes and no NUL.

        A link without facts has no tags and no campaign; on a day without a salt no visitors are counted. Each text is
        asked for once, each address nearly so.
        """

    def links(self) -> Groups:
        """Scope 0: the clicks of each link on each day, ordered by (link id, day)."""

    def scopes(self, links: Groups | None) -> dict[int, Groups]:
        """Scopes 1..4 with their clicks, ordered by (subject, day).

        `links` is `self.links()` after its merge: from there come the counts of the dimension `link`, which are those
        of the day, not of the batch. With None that dimension is left as it is.
        """

    def totals(self) -> list[tuple[int, int, int, int, int, int, int]]:
        """For each link: its id; clicks of humans, bots, previews and heads; first and last instant of any of them."""

    def rows(self) -> bytes:
        """The clicks of links for `COPY click_rows FROM STDIN (FORMAT binary)`.

        Columns: at timestamptz, link_id bigint, domain_id integer, status, flags and class smallint, country …
        utm_campaign text ("" where unknown), address inet or NULL, user_agent and referrer_url text ("" where there is
        none).
        """

    def samples(self, limit: int) -> list[dict[str, Any]]:
        """The newest clicks, newest first, unknown codes among them. An address is as it was recorded, or None."""

class Groups:
    """The clicks of a batch by (subject, day), in that order."""

    subjects: list[int]
    days: list[int]
    clicks: list[int]
    """Of humans and bots, in the documents that were merged."""

    def merge(self, documents: Sequence[bytes | None], first: int = 0) -> list[bytes]:
        """The documents with the groups' clicks added, in the order of subjects and days; None is no document yet.

        They are those of the group `first` and of the groups behind it, as many as there are documents: all, or one
        part after the other. Raises FoldError for a malformed one; then none of them was merged.

        Merging is associative: what a document says does not depend on how its clicks were split among batches, except
        which values of a dimension that has more than VALUES_KEPT of them are kept: the most clicked of those that were
        kept before and of those that are new.
        """

    def faults(self, documents: Sequence[bytes | None], first: int = 0) -> list[str | None]:
        """For each document, why `merge` would refuse it; None where it would not. For after a merge that failed."""

class Summary(NamedTuple):
    """What some day documents say together. `visitors` is by day: each day has a salt of its own, so a visitor of two
    days is counted on both. A dimension is its most clicked values and the clicks of all others."""

    humans: int
    bots: int
    previews: int
    heads: int
    visitors: dict[int, int]
    slots: dict[tuple[int, int], tuple[int, int]]
    dimensions: dict[str, tuple[list[tuple[str, int]], int]]

def summarise(documents: Sequence[tuple[int, bytes]], values_max: int = ...) -> Summary:
    """The sum of (day, document) pairs of any subjects; slots are by (day, slot) -> (humans, bots), and each dimension
    has at most `values_max` values, the most clicked first. Raises FoldError for a malformed document."""

"""Accounting under violence: what its books call right, and what not."""

from dataclasses import replace

import pytest

from benchmarks.load.generator import Report
from benchmarks.violence import accounts
from benchmarks.violence.accounts import Client, Product

CLIENT = Client(asked=1010, received=1000, others={}, unconnected=3, died=7)
NOTHING = Product(
    served=0, stored=0, dropped=0, dead=0, in_flight=0, missing=0, open_writers=2, frames=0, duplicates=0, totals={}
)
PRODUCT = replace(NOTHING, served=1004, stored=1004, totals={"the account": 1004})


def test_every_request_of_the_client_has_one_end() -> None:
    """Received, answered otherwise, refused, or died; what was due and never asked is none of them."""
    report = Report(
        asked=1010, answered=990, seconds=1, bytes=0, bursts=0, latency_us={}, dropped=2, opened=64, resumed=0,
        protocol="", cpu_us=0, statuses={"302": 993, "503": 7},
        errors={"connect": 3, "broken": 6, "unreadable": 0, "status": 7, "location": 3, "unanswered": 90},
    )  # fmt: skip
    assert accounts.client_of(report) == Client(asked=1010, received=993, others={"503": 7}, unconnected=3, died=7)


@pytest.mark.parametrize("stored", [1000, 1004, 1007])
def test_what_was_received_and_may_have_been_answered_agrees(stored: int) -> None:
    """A request that died may have been answered or not."""
    assert accounts.failures(CLIENT, replace(PRODUCT, served=stored, stored=stored, totals={"all": stored})) == []


@pytest.mark.parametrize(
    ("product", "failure"),
    [
        (replace(PRODUCT, served=999, stored=999, totals={}), "1 clicks are lost"),
        (replace(PRODUCT, served=1008, stored=1008, totals={}), "1 clicks too many"),
        (replace(PRODUCT, served=1005, in_flight=1), "in flight"),
        (replace(PRODUCT, served=1005, dropped=1), "1 were dropped"),
        (replace(PRODUCT, served=1005, dead=1), "1 are dead letters"),
        (replace(PRODUCT, served=1005, missing=1), "1 clicks are missing"),
        (replace(PRODUCT, frames=1), "1 frames are on their way"),
        (replace(PRODUCT, served=1003), "served are 1003"),
        (replace(PRODUCT, totals={"the account": 1003}), "the account has 1003"),
    ],
)
def test_what_does_not_agree_is_named(product: Product, failure: str) -> None:
    """Each kind alone."""
    (found,) = accounts.failures(CLIENT, product)
    assert failure in found


def test_other_answers_and_none_are_failures() -> None:
    """A run in which nothing was redirected proves nothing."""
    assert accounts.failures(replace(CLIENT, others={"404": 1}), PRODUCT)
    nothing = Client(asked=0, received=0, others={}, unconnected=0, died=0)
    assert accounts.failures(nothing, NOTHING)


@pytest.mark.parametrize("change", [{"served": 999}, {"in_flight": 1}, {"frames": 1}, {"open_writers": 3}])
def test_totals_are_compared_when_nothing_can_change_them(change: dict[str, int]) -> None:
    """Not before every worker that died is accounted for, and every frame out of the streams."""
    assert accounts.is_settled(CLIENT, PRODUCT, workers=2)
    assert not accounts.is_settled(CLIENT, replace(PRODUCT, **change), workers=2)  # type: ignore[arg-type]

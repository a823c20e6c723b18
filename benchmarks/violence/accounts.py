"""What the client counted, what the product says, and whether they agree; pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.load.generator import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What the load generator saw. `died`: requests that were sent, or begun to be, and got no whole answer."""

    asked: int
    received: int
    others: Mapping[str, int]
    unconnected: int
    died: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What the product says. The totals are counted on different ways through the tables, and must all be the same.

    `missing`: recorded by a worker that is gone, and nowhere to be found. `open_writers`: workers that have not given
    their final report; those that live, once all dead ones are accounted for. `frames`: in a stream, or sent and not
    acknowledged; a batch that is stored may be among them, and must not be stored again. `duplicates`: frames that came
    again, since control was last started.
    """

    served: int
    stored: int
    dropped: int
    dead: int
    in_flight: int
    missing: int
    open_writers: int
    frames: int
    duplicates: int
    totals: Mapping[str, int]


def is_settled(client: Client, product: Product, workers: int) -> bool:
    """Whether nothing that could change a total is left: no click, no frame, no dead worker without its last report."""
    is_all_known = product.served >= client.received and product.open_writers == workers
    return is_all_known and product.in_flight == 0 and product.frames == 0


def client_of(report: Report) -> Client:
    """The client's side of the books."""
    answers = {int(status): count for status, count in report.statuses.items()}
    unconnected = report.errors["connect"]
    return Client(
        asked=report.asked,
        received=sum(count for status, count in answers.items() if 300 <= status < 400),
        others={str(status): count for status, count in answers.items() if not 300 <= status < 400},
        unconnected=unconnected,
        died=report.asked - sum(answers.values()) - unconnected,
    )


def failures(client: Client, product: Product) -> list[str]:
    """What does not agree; nothing, if no click was lost and none counted twice."""
    low, high = client.received, client.received + client.died
    found = [
        _unless(low > 0, "the client received no redirect"),
        _unless(not client.others, f"the client received other answers than redirects: {dict(client.others)}"),
        _unless(product.stored >= low, f"{low - product.stored} clicks are lost: {low} redirects were received"),
        _unless(product.stored <= high, f"{product.stored - high} clicks too many: at most {high} were answered"),
        _unless(product.in_flight == 0, f"{product.in_flight} clicks are in flight"),
        _unless(product.frames == 0, f"{product.frames} frames are on their way"),
        _unless(product.missing == 0, f"{product.missing} clicks are missing, as the product says itself"),
        _unless(
            product.dropped + product.dead == 0, f"{product.dropped} were dropped, {product.dead} are dead letters"
        ),
        _unless(
            product.served == product.stored + product.dropped + product.dead + product.in_flight + product.missing,
            f"served are {product.served}, which is not what became of them",
        ),
    ]
    found += [
        _unless(total == product.stored, f"{name} has {total} clicks, {product.stored} are stored")
        for name, total in product.totals.items()
    ]
    return [failure for failure in found if failure]


def _unless(is_right: bool, failure: str) -> str:
    return "" if is_right else failure

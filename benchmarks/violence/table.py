"""The results as a table."""

from typing import Any

from benchmarks.entry import Row

COLUMNS: Row = ("what", "number", "")


def rows(document: dict[str, Any]) -> list[Row]:
    """Blows first, then both sides of the books."""
    client, product = document["client"], document["product"]
    blows = [
        (f"SIGKILL: {blow['title']}", f"{blow['at_s']:.1f} s", f"back after {blow['recovery_s']:.1f} s")
        for blow in document["blows"]
    ]
    received, died = client["received"], client["died"]
    return [
        *blows,
        ("requests of the client", f"{client['asked']:,}", f"in {document['seconds']:.1f} s"),
        ("redirects that it received", f"{received:,}", ""),
        ("requests that died unanswered", f"{died:,}", ""),
        ("connections refused", f"{client['unconnected']:,}", ""),
        ("clicks served, as the edges say", f"{product['served']:,}", f"{received:,} to {received + died:,}"),
        ("clicks stored", f"{product['stored']:,}", f"after {document['settle_s']:.1f} s"),
        ("stored beyond received", f"{product['stored'] - received:+,}", f"0 to {died:,}"),
        ("clicks dropped", f"{product['dropped']:,}", ""),
        ("clicks in dead letters", f"{product['dead']:,}", ""),
        ("clicks in flight", f"{product['in_flight']:,}", ""),
        ("clicks missing", f"{product['missing']:,}", ""),
        ("frames that came twice and were known", f"{product['duplicates']:,}", "since control was last started"),
        *((f"total of {name}", f"{total:,}", "") for name, total in product["totals"].items()),
    ]

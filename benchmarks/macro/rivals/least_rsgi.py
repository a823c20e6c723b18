"""The least RSGI application that redirects: one fixed answer as the edge's. What is left is Granian's."""

import os
from typing import Any, Final

LOCATION_VARIABLE: Final = "BENCHMARK_LOCATION"
FIELDS: Final = [("location", os.environ.get(LOCATION_VARIABLE, "")), ("cache-control", "private, max-age=0")]


async def app(_scope: Any, protocol: Any) -> None:
    """Redirect."""
    protocol.response_empty(302, FIELDS)

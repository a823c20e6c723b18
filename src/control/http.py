"""HTTP: the only module that knows status codes; decodes requests, encodes answers and RFC 9457 problems."""

import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

import msgspec
from blacksheep import Content, Request, Response, StreamedContent

from control.errors import Error
from control.streaming import Stream

# The longest target has 8,192 bytes; escaped as \uXXXX, JSON makes six of each.
BODY_BYTES_MAX: Final = 64 * 1024
RETRY_AFTER_S: Final = 2
JSON: Final = b"application/json"
PROBLEM_JSON: Final = b"application/problem+json"


class Problem(NamedTuple):
    """What a code stands for."""

    status: int
    title: str


# Every problem code; docs/problems.md explains each.
PROBLEMS: Final[dict[str, Problem]] = {
    "body_malformed": Problem(400, "The body is not JSON"),
    "body_too_large": Problem(413, "The body is too large"),
    "content_type": Problem(415, "The body is not declared as JSON"),
    "field_type": Problem(422, "A member has the wrong type"),
    "field_value": Problem(422, "A member has a value that is not allowed"),
    "field_missing": Problem(422, "A required member is missing"),
    "field_unknown": Problem(422, "A member is unknown"),
    "patch_empty": Problem(422, "The change is empty"),
    "query_invalid": Problem(400, "A query parameter is unknown or has a bad value"),
    "if_match_invalid": Problem(400, "If-Match is not a version"),
    "target_invalid": Problem(422, "The target is not an absolute URL"),
    "target_scheme": Problem(422, "The target is neither http nor https"),
    "target_credentials": Problem(422, "The target has credentials"),
    "target_characters": Problem(422, "The target has spaces or control characters"),
    "target_too_long": Problem(422, "The target is too long"),
    "target_loop": Problem(422, "The target is a short link itself"),
    "code_invalid": Problem(422, "The code has characters that are not allowed"),
    "code_reserved": Problem(422, "The code is reserved"),
    "code_taken": Problem(409, "The code is taken"),
    "window_invalid": Problem(422, "The time of validity is empty or too early"),
    "cache_max_age_invalid": Problem(422, "The cache lifetime is out of range"),
    "tag_invalid": Problem(422, "A tag's name is not allowed"),
    "too_many_tags": Problem(422, "A link has too many tags"),
    "tags_exhausted": Problem(409, "There are as many tags as there may be"),
    "tag_in_use": Problem(409, "Links have this tag"),
    "version_conflict": Problem(409, "The link has been changed meanwhile"),
    "precondition_failed": Problem(412, "The link has been changed meanwhile"),
    "link_not_found": Problem(404, "There is no such link"),
    "domain_not_found": Problem(404, "There is no such domain"),
    "span_invalid": Problem(400, "The span of time is not valid"),
    "span_too_long": Problem(400, "The span of time is too long"),
    "time_zone_unknown": Problem(400, "There is no such time zone"),
    "rows_not_kept": Problem(409, "Single clicks are not kept"),
    "too_many_exports": Problem(503, "Too many exports are under way"),
    "too_many_tails": Problem(503, "Too many clients follow the clicks"),
    "tag_not_found": Problem(404, "There is no such tag"),
    "shard_unknown": Problem(404, "There is no such shard"),
    "shard_exists": Problem(409, "There is such a shard already"),
    "shard_unreachable": Problem(422, "The new shard does not answer"),
    "shard_answers": Problem(409, "The shard is not lost"),
    "shard_not_empty": Problem(422, "The new server is not empty"),
    "shard_unavailable": Problem(503, "A server of the shard does not answer"),
    "replica_unknown": Problem(404, "The shard has no such replica"),
    "replica_foreign": Problem(422, "The server is no copy of the shard"),
    "replica_behind": Problem(409, "The replica does not reach its primary"),
    "primary_silent": Problem(409, "The primary is silent"),
    "placement_busy": Problem(503, "Changes are being projected without an end"),
    "topology_missing": Problem(409, "There are no shards yet"),
    "topology_invalid": Problem(422, "No topology can hold this"),
    "topology_moves": Problem(409, "The topology has two rings"),
    "topology_changed": Problem(409, "The topology has been changed meanwhile"),
    "ring_empty": Problem(409, "No shard would hold links"),
    "move_under_way": Problem(409, "A move is under way"),
    "move_empty": Problem(409, "Nothing would move"),
    "move_unknown": Problem(404, "There is no such move"),
    "move_phase": Problem(409, "The move's phase does not allow this"),
    "route_not_found": Problem(404, "There is nothing at this path"),
    "method_not_allowed": Problem(405, "The path does not take this method"),
    "key_missing": Problem(401, "An API key is needed"),
    "key_invalid": Problem(401, "The API key is not valid"),
    "too_many_waiting": Problem(503, "Too many requests wait for the edges"),
    "database_unavailable": Problem(503, "The database cannot be used now"),
    "not_ready": Problem(503, "The service is not ready"),
    "internal": Problem(500, "Something went wrong inside"),
}
SUCCESS: Final = {"ok": 200, "created": 201, "accepted": 202, "no_content": 204}
_UNKNOWN_FIELD: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING_FIELD: Final = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_WRONG_TYPE: Final = re.compile(r"Expected `[^`]*`, got `[^`]*`")
_INDEX: Final = re.compile(r"\[([0-9]+)\]")
_ENTITY_TAG: Final = re.compile(r'"([1-9][0-9]{0,9})"')


@dataclass(slots=True, kw_only=True)
class Call:
    """A request as a handler sees it, decoded by what its route declares."""

    path: dict[str, str]
    query: Any
    body: Any
    if_match: int | None


@dataclass(slots=True, kw_only=True)
class Reply:
    """A handler's answer. `value` is encoded as JSON, but bytes are sent as they are; None has no body. `is_dry`: it is
    the answer to a dry run.

    With `stream` the answer is its chunks instead. One that `is_endless` ends when the process stops. `file_name` is
    what a browser stores it as.
    """

    value: Any = None
    is_dry: bool = False
    etag: int | None = None
    location: str | None = None
    content_type: bytes = JSON
    stream: Stream | None = None
    is_endless: bool = False
    file_name: str | None = None


Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation: how it is called, what it takes and gives, and what can go wrong. The OpenAPI document is made of
    these, so what it says is what is enforced."""

    method: str
    path: str
    name: str
    summary: str
    handler: Handler
    query: type[msgspec.Struct]
    body: type[msgspec.Struct] | None = None
    reply: Any = None
    success: str = "ok"
    dry_reply: Any = None  # what a dry run answers, with 200, if the route has one
    problems: tuple[str, ...] = ()
    is_public: bool = False
    has_if_match: bool = False
    may_be_empty: bool = False
    streams: tuple[bytes, ...] = ()  # the content types, if the answer is streamed


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of a route that takes none."""


async def call_of(route: Route, request: Request) -> Call:
    """Decode `request` as `route` declares; raises Error for what is not as declared."""
    return Call(
        path={name: value or "" for name, value in (request.route_values or {}).items()},
        query=_query(route, request),
        body=None if route.body is None else decode_body(await _read_body(request), route.body),
        if_match=_if_match(request) if route.has_if_match else None,
    )


def response_of(route: Route, reply: Reply) -> Response:
    """Encode a handler's answer."""
    if reply.stream is not None:
        response = _streamed(route, reply, reply.stream)
    elif reply.value is None:
        response = Response(SUCCESS["no_content"])
    else:
        data = reply.value if isinstance(reply.value, bytes) else msgspec.json.encode(reply.value)
        status = SUCCESS["ok" if reply.is_dry else route.success]
        response = Response(status, content=Content(reply.content_type, data))
    if reply.etag is not None:
        response.add_header(b"etag", b'"%d"' % reply.etag)
    if reply.location is not None:
        response.add_header(b"location", reply.location.encode())
    if not route.is_public:
        response.add_header(b"cache-control", b"no-store")
    return response


def _streamed(route: Route, reply: Reply, stream: Stream) -> Response:
    async def chunks() -> Stream:  # the framework asks for the function itself
        async with aclosing(stream):
            async for chunk in stream:
                yield chunk

    response = Response(SUCCESS[route.success], content=StreamedContent(reply.content_type, chunks))
    response.add_header(b"x-accel-buffering", b"no")  # nginx would hold events back until it has a buffer of them
    if reply.file_name is not None:
        response.add_header(b"content-disposition", b'attachment; filename="%s"' % reply.file_name.encode("ascii"))
    return response


def problem_response(error: Error, docs_url: str) -> Response:
    """The answer to a failed request; `docs_url` is where the codes are explained."""
    problem = PROBLEMS.get(error.code)
    if problem is None:  # an error of the command line or of the background that came up in a request
        error, problem = Error("internal", "see the log of the control plane"), PROBLEMS["internal"]
    body: dict[str, Any] = {
        "type": f"{docs_url}#{error.code}",
        "title": problem.title,
        "status": problem.status,
        "code": error.code,
        "detail": error.message,
    }
    if error.pointer is not None:
        body["errors"] = [{"pointer": error.pointer, "detail": error.message}]
    response = Response(problem.status, content=Content(PROBLEM_JSON, msgspec.json.encode(body)))
    response.add_header(b"cache-control", b"no-store")
    if problem.status == 401:
        response.add_header(b"www-authenticate", b'Bearer realm="pointsman"')
    if problem.status == 503:
        response.add_header(b"retry-after", b"%d" % RETRY_AFTER_S)
    return response


def header(request: Request, name: bytes) -> str | None:
    """A request header's value."""
    value = request.get_first_header(name)
    return None if value is None else value.decode("latin-1")


def _query(route: Route, request: Request) -> Any:
    values = {}
    # Not request.query: it leaves out what is empty, so `?dry_run=` would be taken for a request without it.
    query = parse_qs((request.url.query or b"").decode(errors="replace"), keep_blank_values=True)
    for name, given in query.items():
        if len(given) != 1:
            raise Error("query_invalid", f"the query parameter {name} is given {len(given)} times")
        values[name] = given[0]
    try:
        return msgspec.convert(values, route.query, strict=False)
    except msgspec.ValidationError as error:
        raise Error("query_invalid", f"query: {error}") from error


async def _read_body(request: Request) -> bytes:
    media_type = (header(request, b"content-type") or "").partition(";")[0].strip().lower()
    if media_type != JSON.decode():
        raise Error("content_type", "send the body as JSON, with the header Content-Type: application/json")
    chunks = []
    size = 0
    async for chunk in request.stream():  # type: ignore[attr-defined]  # its stub calls it a coroutine
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            raise Error("body_too_large", f"a body has at most {BODY_BYTES_MAX} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def decode_body(data: bytes, kind: type[msgspec.Struct]) -> Any:
    """The body as a `kind`; raises Error for what is no JSON or not of that form."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise _field_error(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Error("body_malformed", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Error("body_malformed", "the body is nested too deeply") from error


def _field_error(text: str) -> Error:
    """Tell apart what msgspec found, by its message: it has one class for all."""
    reason, _, path = text.partition(" - at `")
    pointer = _pointer(path.removesuffix("`"))
    if match := _UNKNOWN_FIELD.fullmatch(reason):
        return Error("field_unknown", f"there is no member {match[1]!r}", pointer=f"{pointer}/{_escape(match[1])}")
    if match := _MISSING_FIELD.fullmatch(reason):
        return Error("field_missing", f"the member {match[1]!r} is required", pointer=f"{pointer}/{match[1]}")
    return Error("field_type" if _WRONG_TYPE.fullmatch(reason) else "field_value", reason, pointer=pointer)


def _pointer(path: str) -> str:
    """`$.target` or `$.tags[0]` of msgspec as a JSON pointer."""
    return _INDEX.sub(r"/\1", path.removeprefix("$").replace(".", "/"))


def _escape(member: str) -> str:
    return member.replace("~", "~0").replace("/", "~1")


def _if_match(request: Request) -> int | None:
    value = header(request, b"if-match")
    if value is None or value.strip() == "*":
        return None
    match = _ENTITY_TAG.fullmatch(value.strip())
    if match is None:
        raise Error("if_match_invalid", 'If-Match must be one version in quotes, such as "3", as in ETag')
    return int(match[1])

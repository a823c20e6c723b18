"""The OpenAPI document and the docs page, made from the route table and its types."""

import re
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

import msgspec

from control.http import PROBLEMS, SUCCESS, Route

_COMPONENTS: Final = "#/components/schemas/{name}"
_PATH_MEMBER: Final = re.compile(r"{(\w+)}")
# What any operation that needs a key can answer besides its own problems, and what any that takes a body.
_COMMON_PROBLEMS: Final = ("key_missing", "key_invalid", "query_invalid", "database_unavailable", "internal")
_BODY_PROBLEMS: Final = (
    "body_malformed",
    "body_too_large",
    "content_type",
    "field_type",
    "field_value",
    "field_unknown",
)


class ProblemError(msgspec.Struct, frozen=True):
    """Where in the body the problem is: a JSON pointer."""

    pointer: str
    detail: str


class ProblemBody(msgspec.Struct, frozen=True):
    """A problem (RFC 9457). `code` is stable and meant for programs; `detail` is meant for people and may change."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[ProblemError] | msgspec.UnsetType = msgspec.UNSET


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of `routes`."""
    used = (kind for route in routes for kind in (route.body, route.reply, route.dry_reply))
    types = [ProblemBody, *(kind for kind in used if kind is not None)]
    schemas, components = msgspec.json.schema_components(types, ref_template=_COMPONENTS)
    by_type = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pointsman", "version": "1", "summary": "Links that redirect, and who may change them."},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "pm_…"}},
        },
    }


def problems_of(route: Route) -> tuple[str, ...]:
    """Every problem code that the route can answer."""
    if_match = ("if_match_invalid", "precondition_failed") if route.has_if_match else ()
    return (*_body_problems(route), *route.problems, *if_match, *_COMMON_PROBLEMS)


def _body_problems(route: Route) -> tuple[str, ...]:
    if route.body is None:
        return ()
    has_required = any(field.required for field in msgspec.structs.fields(route.body))
    return (*_BODY_PROBLEMS, *(("field_missing",) if has_required else ()))


def page(api: dict[str, Any]) -> bytes:
    """The docs page: one file, with the document inside and nothing loaded from elsewhere."""
    template = (resources.files("control") / "docs.html").read_text(encoding="utf-8")
    problems = [{"code": code, **problem._asdict()} for code, problem in PROBLEMS.items()]
    return template.replace("{{document}}", _in_script(api)).replace("{{problems}}", _in_script(problems)).encode()


def _in_script(value: Any) -> str:
    """JSON that cannot end the script element that it stands in."""
    return msgspec.json.encode(value).decode().replace("<", "\\u003c")


def _operation(route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": _responses(route, schemas),
        "security": [] if route.is_public else [{"key": []}],
    }
    if route.body is not None:
        content = {"application/json": {"schema": schemas[route.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_MEMBER.findall(route.path)
    ]
    for field in msgspec.structs.fields(route.query):
        schema = msgspec.json.schema(field.type)
        if not isinstance(field.default, type(msgspec.NODEFAULT)) and field.default is not None:
            schema["default"] = field.default
        parameters.append({"name": field.encode_name, "in": "query", "required": field.required, "schema": schema})
    if route.has_if_match:
        parameters.append({"name": "If-Match", "in": "header", "required": False, "schema": {"type": "string"}})
    return parameters


def _responses(route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    success: dict[str, Any] = {"description": route.summary}
    if route.reply is not None:
        success["content"] = {"application/json": {"schema": schemas[route.reply]}}
        success["headers"] = {"ETag": {"schema": {"type": "string"}}}
    if route.streams:
        success["content"] = {kind.decode(): {"schema": {"type": "string"}} for kind in route.streams}
    responses: dict[str, Any] = {str(SUCCESS[route.success]): success}
    if route.dry_reply is not None:
        content = {"application/json": {"schema": schemas[route.dry_reply]}}
        responses[str(SUCCESS["ok"])] = {"description": "A dry run: nothing was changed", "content": content}
    if route.may_be_empty:
        responses[str(SUCCESS["no_content"])] = {"description": route.summary}
    by_status: dict[int, list[str]] = {}
    for code in problems_of(route):
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    for status, codes in sorted(by_status.items()):
        schema = {"allOf": [schemas[ProblemBody], {"properties": {"code": {"enum": codes}}}]}
        responses[str(status)] = {
            "description": ", ".join(codes),
            "content": {"application/problem+json": {"schema": schema}},
        }
    return responses

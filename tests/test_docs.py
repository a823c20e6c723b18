"""The documents name everything that a user or an operator can meet, and nothing that is not there."""

import asyncio
import re
from pathlib import Path

import msgspec
import pytest
from blacksheep import Application

import control.config
import control.dev.config
import control.metrics
import edge.config
import edge.lifecycle
import edge.metrics
import edge.shipping
from control import app, http, log
from wire import keys

ROOT = Path(__file__).parent.parent
# Not the same on every machine; the table says it in words.
COMPUTED = {"workers", "edge_workers", "id"}


def _document(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def _section(path: str, title: str) -> str:
    return _document(path).split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def _settings_in(section: str) -> dict[str, str]:
    """Variable -> default, as the table of a section says."""
    rows = re.findall(r"^\| `(POINTSMAN_\w+)` \| (.+?) \|", _section("docs/settings.md", section), re.MULTILINE)
    return {name: default.strip("`") for name, default in rows}


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "needed"
    return str(field.default) or "none"


@pytest.mark.parametrize(
    ("section", "config", "variable"),
    [
        ("Control", control.config.ControlConfig, lambda field: control.config.PREFIX + field.upper()),
        ("Edge", edge.config.EdgeConfig, edge.config.variable),
        ("Everything on one machine", control.dev.config.DevConfig, control.dev.config.variable),
    ],
)
def test_every_setting_is_documented(section, config, variable) -> None:  # type: ignore[no-untyped-def]
    """docs/settings.md has the settings of each program, with their defaults."""
    documented = _settings_in(section)
    fields = {variable(field.name): field for field in msgspec.structs.fields(config)}
    shared = set(edge.config.SHARED_NAMES.values()) if config is edge.config.EdgeConfig else set()
    assert set(documented) == set(fields) - shared
    for name, default in documented.items():
        if fields[name].name not in COMPUTED:
            assert default == _default(fields[name]), name


def _application() -> Application:
    async def build() -> Application:
        settings = control.config.load({"POINTSMAN_DATABASE_URL": "postgresql://127.0.0.1:1/none"})
        return await app.build(settings, log.configure(settings), asyncio.Event())

    return asyncio.run(build())


def test_every_route_is_documented() -> None:
    """docs/api.md has every method and path of the API, and no other."""
    registered = _application().router.registered_routes
    found = {f"{method} {route.pattern.decode()}" for method, route in registered if method != "*"}
    routes = {route.replace("{", "<").replace("}", ">") for route in found}
    documented = set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`?\s]*)", _document("docs/api.md")))
    assert documented == routes


def test_every_problem_is_documented() -> None:
    """docs/problems.md explains every problem code, and no other."""
    documented = set(re.findall(r"^#+ `?([a-z_]+)`?$|^\| `([a-z_]+)` \|", _document("docs/problems.md"), re.MULTILINE))
    assert {first or second for first, second in documented} == set(http.PROBLEMS)


def _edge_page() -> str:
    parts = (edge.metrics.render([], 0, 0), edge.lifecycle.Lifecycle().text([]), edge.shipping.Shipping().text(0))
    return "".join(parts)


def test_every_metric_is_documented() -> None:
    """docs/metrics.md has every metric with its kind, and no other."""
    page = _edge_page() + control.metrics.Metrics().text()
    metrics = set(re.findall(r"^# TYPE (\w+) (\w+)$", page, re.MULTILINE))
    documented = set(re.findall(r"^\| `(\w+)` \| (\w+) \|", _document("docs/metrics.md"), re.MULTILINE))
    assert documented == metrics


def _samples() -> set[str]:
    """Every name that a query may use: a histogram's series end in what they are."""
    page = _edge_page() + control.metrics.Metrics().text()
    names = set()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", page, re.MULTILINE):
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


@pytest.mark.parametrize("path", ["deploy/alerts.yml", "docs/metrics.md"])
def test_queries_use_metrics_that_exist(path: str) -> None:
    """Each name in a query for Prometheus is a series of /metrics."""
    queries = re.findall(r"^ *expr: (.+)$|^\| [^|`]+ \| `(.+)` \|$", _document(path), re.MULTILINE)
    used = {name for query in queries for name in re.findall(r"\b(pointsman_\w+)", "".join(query))}
    assert used
    assert used - _samples() == set()


def test_alerts_are_complete() -> None:
    """Each rule has a name of its own, a query, a severity, and says what is wrong and what to do."""
    rules = _document("deploy/alerts.yml").split("- alert: ")[1:]
    names = [rule.splitlines()[0] for rule in rules]
    assert len(names) == len(set(names))
    for rule in rules:
        assert re.search(r"^ +expr: \S", rule, re.MULTILINE), rule
        assert re.search(r"^ +labels: \{severity: (page|ticket)\}$", rule, re.MULTILINE), rule
        assert re.search(r'^ +summary: ".+"$', rule, re.MULTILINE), rule
        assert re.search(r'^ +action: ".+"$', rule, re.MULTILINE), rule


def test_groups_of_alerts_have_names_of_their_own() -> None:
    """Prometheus takes none of a file's rules if two of its groups have the same name."""
    names = re.findall(r"^ +- name: (\S+)$", _document("deploy/alerts.yml"), re.MULTILINE)
    assert names
    assert len(names) == len(set(names))


def test_every_redis_key_is_documented() -> None:
    """docs/redis-keys.md has every name in wire.keys, and no other."""
    texts = {value.decode() for value in vars(keys).values() if isinstance(value, bytes)}
    names = {text for text in texts if text.startswith(("l:", "pm:"))}  # the others are fields, and a group
    documented = set(re.findall(r"^\| `([^`<]+)(?:<[^`]*)?` \|", _document("docs/redis-keys.md"), re.MULTILINE))
    assert documented == names


def test_every_make_target_is_explained() -> None:
    """Each target that `make help` shows stands in CONTRIBUTING.md."""
    targets = re.findall(r"^([a-z-]+):.*## ", _document("Makefile"), re.MULTILINE)
    assert targets
    assert [target for target in targets if f"`make {target}`" not in _document("CONTRIBUTING.md")] == []


def test_links_between_documents_lead_somewhere() -> None:
    """A link in a document to a file of the repository leads to one that is there."""
    links = [
        (document, target)
        for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8"))
        if "://" not in target
    ]
    assert [(str(document), target) for document, target in links if not (document.parent / target).exists()] == []

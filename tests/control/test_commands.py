"""The command line: what operators type, and what they are told when it cannot be done."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from control.domains import service as domains
from tests.control.station import (
    DEADLINE_S,
    SHORT_URL,
    Station,
    fetch,
    held,
    held_target,
    is_trusted,
    prepare,
    with_database,
)
from tests.stack.server import RedisServer
from wire.record import LinkRecord

STOP_DEADLINE_S = 5
SRC = str(Path(__file__).parents[2] / "src")


def _run(url: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": SRC, "POINTSMAN_DATABASE_URL": url, "COLUMNS": "200"} | settings
    return subprocess.run(
        [sys.executable, "-m", "control", *arguments],
        env=environ, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip


@pytest.fixture
def ready_url(database_url: str, shards: list[RedisServer]) -> str:
    """A database with a topology and a domain, and no control plane."""
    prepare(database_url, shards)
    with_database(database_url, lambda database: domains.ensure_default(database, SHORT_URL))
    return database_url


def test_a_new_installation_is_set_up_by_commands(database_url: str, shards: list[RedisServer]) -> None:
    """migrate, topology, key: each can be given twice."""
    assert "applied 0001" in _run(database_url, "migrate").stdout
    assert _run(database_url, "migrate").stdout == ""
    topology = ["topology", "set", *(f"--shard=s{number}={server.url}" for number, server in enumerate(shards))]
    assert "epoch 1 " in _run(database_url, *topology).stdout
    assert "epoch 1 " in _run(database_url, *topology).stdout
    assert shards[1].url in _run(database_url, "topology", "show").stdout
    key = _run(database_url, "key", "create", "mine").stdout.strip()
    assert key.startswith("pm_")
    listed = _run(database_url, "key", "list").stdout
    assert "mine" in listed
    assert key not in listed
    assert _run(database_url, "key", "revoke", "1").returncode == 0
    assert "key_not_found" in _run(database_url, "key", "revoke", "1").stderr


@pytest.mark.parametrize(
    ("shards_given", "code"),
    [
        (["shard-0=redis://127.0.0.1:1"], "topology_moves"),
        (["shard-1={1}", "shard-0={0}"], "topology_moves"),
        (["shard-0={0}", "shard-1={0}"], "topology_invalid"),
        (["shard-0={0}", "shard-1=http://127.0.0.1"], "topology_invalid"),
        (["shard-0={0}", "shard-0={1}"], "topology_moves"),
    ],
)
def test_topology_that_would_lose_links_is_refused(
    ready_url: str, shards: list[RedisServer], shards_given: list[str], code: str
) -> None:
    """Other shards take a move; two shards on one server, or no server, are no topology."""
    options = [f"--shard={text.format(*(server.url for server in shards))}" for text in shards_given]
    result = _run(ready_url, "topology", "set", *options)
    assert (result.returncode, result.stdout) == (1, "")
    assert code in result.stderr
    assert fetch(ready_url, "SELECT count(*) FROM topologies") == [(1,)]


def test_import_stores_and_projects_a_file(ready_url: str, shards: list[RedisServer], tmp_path: Path) -> None:
    """Every line becomes a link on its shard; a deleted code is taken again, a live one left alone."""
    fetch(
        ready_url,
        "INSERT INTO links (domain_id, code, key_hash, target, deleted_at) VALUES "
        "(1, 'c1', 0, 'https://old.example/', NULL), (1, 'c2', 0, 'https://old.example/', now())",
    )
    file = tmp_path / "links.csv"
    file.write_text("".join(f'c{number},"https://example.com/{number}?a,b"\n' for number in range(500)))
    result = _run(ready_url, "link", "import", str(file))
    assert result.returncode == 0, result.stderr
    assert "499 links created, 1 codes were taken" in result.stdout
    assert held_target(shards, "c499") == "https://example.com/499?a,b"
    assert fetch(ready_url, "SELECT code, target, version FROM links WHERE code IN ('c1', 'c2') ORDER BY 1") == [
        ("c1", "https://old.example/", 1),
        ("c2", "https://example.com/2?a,b", 2),
    ]
    assert fetch(ready_url, "SELECT count(DISTINCT key_hash) FROM links") == [(499,)]
    assert fetch(ready_url, "SELECT reltuples FROM pg_class WHERE oid = 'links'::regclass") == [(500.0,)]
    assert all(map(is_trusted, shards))


def test_lifetime_can_be_given_by_command_and_file(ready_url: str, shards: list[RedisServer], tmp_path: Path) -> None:
    """An option of create; a third column of the file, which may be empty or missing."""
    assert _run(ready_url, "link", "create", "https://a.example/", "--code=one", "--cache-max-age-s=60").returncode == 0
    assert json.loads(_run(ready_url, "link", "get", "one").stdout)["cache_max_age_s"] == 60
    assert "60 s" in _run(ready_url, "link", "list").stdout
    refused = _run(ready_url, "link", "create", "https://a.example/", "--cache-max-age-s=31536001")
    assert (refused.returncode, "cache_max_age_invalid" in refused.stderr) == (1, True)
    fetch(
        ready_url,
        "INSERT INTO links (domain_id, code, key_hash, target, deleted_at, cache_max_age_s) VALUES "
        "(1, 'again', 0, 'https://old.example/', now(), 5)",
    )
    file = tmp_path / "links.csv"
    lines = ("kept,https://a.example/,31536000", "zero,https://a.example/,0", "none,https://a.example/,", "again,")
    file.write_text("\n".join(lines) + "https://a.example/\n")
    result = _run(ready_url, "link", "import", str(file))
    assert "4 links created" in result.stdout, result.stderr
    expected = {"one": 60, "kept": 31_536_000, "zero": 0, "none": None, "again": None}
    assert dict(fetch(ready_url, "SELECT code, cache_max_age_s FROM links")) == expected
    for code, seconds in expected.items():
        found = held(shards, code)
        assert isinstance(found, LinkRecord)
        assert found.cache_max_age_s == seconds


def test_tags_can_be_given_by_command(ready_url: str, shards: list[RedisServer], tmp_path: Path) -> None:
    """Options of create and import; list shows them and filters by one. Bad ones are refused before anything."""
    assert (
        _run(ready_url, "link", "create", "https://a.example/", "--code=one", "--tag=News", "--tag=[b]x").returncode
        == 0
    )
    assert json.loads(_run(ready_url, "link", "get", "one").stdout)["tags"] == ["News", "[b]x"]
    fetch(
        ready_url,
        "INSERT INTO links (domain_id, code, key_hash, target, deleted_at, tags) VALUES "
        "(1, 'again', 0, 'https://old.example/', now(), '{2}')",
    )
    file = tmp_path / "links.csv"
    file.write_text("one,https://b.example/\nagain,https://a.example/\ntwo,https://a.example/\n")
    refused = _run(ready_url, "link", "import", str(file), f"--tag={'x' * 65}")
    assert (refused.returncode, "tag_invalid" in refused.stderr) == (1, True)
    assert fetch(ready_url, "SELECT count(*) FROM links WHERE deleted_at IS NULL") == [(1,)]
    result = _run(ready_url, "link", "import", str(file), "--tag=news", "--tag=2026")
    assert "2 links created, 1 codes were taken" in result.stdout, result.stderr
    tags = dict(fetch(ready_url, "SELECT code, tags FROM links"))
    assert tags == {"one": [1, 2], "again": [1, 3], "two": [1, 3]}
    assert fetch(ready_url, "SELECT name FROM tags ORDER BY id") == [("News",), ("[b]x",), ("2026",)]
    assert fetch(ready_url, "SELECT tag_id, count(*) FROM link_tags GROUP BY 1 ORDER BY 1") == [(1, 3), (2, 1), (3, 2)]
    assert all(isinstance(held(shards, code), LinkRecord) for code in ("one", "again", "two"))
    assert "News, [b]x" in _run(ready_url, "link", "list").stdout
    listed = _run(ready_url, "link", "list", "--tag=NEWS").stdout
    assert all(f"/{code} " in listed for code in ("one", "again", "two"))
    assert "tag_not_found" in _run(ready_url, "link", "list", "--tag=nwes").stderr


def test_import_names_every_bad_line_and_stores_nothing(ready_url: str, tmp_path: Path) -> None:
    """The whole file is checked first."""
    file = tmp_path / "links.csv"
    file.write_text(
        "ok,https://example.com/\n" "ok,https://example.com/\n" "a b,https://example.com/\n" "one\n"
        "x,javascript:alert(1)\n" "y,http://go.example/z\n" "s,https://example.com/,soon\n"
        "t,https://example.com/,31536001\n" "u,https://example.com/,1,2\n"
    )  # fmt: skip
    result = _run(ready_url, "link", "import", str(file))
    assert result.returncode == 1
    for line, code in (
        (2, "code_taken"), (3, "code_invalid"), (4, "import_invalid"), (5, "target_scheme"),
        (7, "cache_max_age_invalid"), (8, "cache_max_age_invalid"), (9, "import_invalid"),
    ):  # fmt: skip
        assert any(text.startswith(f"line {line}:") and code in text for text in result.stderr.splitlines())
    assert fetch(ready_url, "SELECT count(*) FROM links") == [(0,)]


@pytest.mark.parametrize("content", [b"a,\xff\n", b'a,"https://example.com/\n', b'a,"x"y\n'])
def test_file_that_is_no_csv_is_refused(ready_url: str, tmp_path: Path, content: bytes) -> None:
    """One line, no traceback."""
    file = tmp_path / "links.csv"
    file.write_bytes(content)
    result = _run(ready_url, "link", "import", str(file))
    assert (result.returncode, "import_invalid" in result.stderr, "Traceback" in result.stderr) == (1, True, False)


def test_project_all_writes_what_the_outbox_does_not_know(ready_url: str, shards: list[RedisServer]) -> None:
    """Links put into the table by other means, more than a page of them."""
    fetch(
        ready_url,
        "INSERT INTO links (domain_id, code, key_hash, target) "
        "SELECT 1, 'c' || n, n * 1000000000000000, 'https://example.com/' || n FROM generate_series(1, 9000) n",
    )
    result = _run(ready_url, "project", "--all")
    assert result.returncode == 0, result.stderr
    assert held_target(shards, "c9000") == "https://example.com/9000"
    assert all(map(is_trusted, shards))


def test_project_all_beside_a_running_control_plane(station: Station, shards: list[RedisServer]) -> None:
    """The shards stay in use; the keepers leave them to the command."""
    station.create("https://a.example/", code="abc")
    result = _run(station.database_url, "project", "--all")
    assert result.returncode == 0, result.stderr
    station.patch("abc", target="https://b.example/")
    station.wait_trusted()
    assert held_target(shards, "abc") == "https://b.example/"


def test_control_refuses_a_taken_port(ready_url: str) -> None:
    """One line that names the address, and exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = _run(ready_url, "control", POINTSMAN_CONTROL_PORT=str(port))
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        f"Error: cannot listen on 127.0.0.1:{port}: Address already in use; "
        "stop what listens there or set POINTSMAN_CONTROL_PORT (address_taken)"
    ]


def test_control_refuses_a_database_without_its_tables(database_url: str) -> None:
    """It says what to run."""
    result = _run(database_url, "control", POINTSMAN_CONTROL_PORT="0")
    assert (result.returncode, "pointsman migrate" in result.stderr) == (1, True)


@pytest.mark.parametrize("url", ["", "nonsense", "postgresql://127.0.0.1:1/none"])
def test_command_without_a_database_says_so_in_one_line(url: str) -> None:
    """Not set, not a URL, not there."""
    result = _run(url, "migrate")
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1), result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_control_quickly_and_cleanly(bare_station: Station, number: signal.Signals) -> None:
    """Exit code 0, also with a connection that is kept open."""
    assert bare_station.client.get("/healthz").status_code == 200
    handle = os.pidfd_open(bare_station.server.pid)
    signal.pidfd_send_signal(handle, number)
    exited, _, _ = select.select([handle], [], [], STOP_DEADLINE_S)
    assert exited
    status = os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOWAIT)
    os.close(handle)
    assert status is not None
    assert (status.si_code, status.si_status) == (os.CLD_EXITED, 0)
    assert "control has stopped" in bare_station.log.read_text()
    bare_station.server.stop()  # reaps it

"""Starting, stopping and killing `pointsman dev`."""

import json
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from tests.system.product import STOP_TIMEOUT_S, Product, is_alive, until, until_ended

ROOT = Path(__file__).parent.parent.parent
PROMPT_S = 20
NewProduct = Callable[..., Product]


def test_dev_json_says_where_everything_is(product: Product) -> None:
    """dev.json has what tools outside rely on, and only its owner may read the key."""
    assert set(product.dev) == {
        *("control_url", "edge_url", "edge_admin_url", "api_key", "postgres_dsn", "shards", "pids"),
    }
    assert [shard["id"] for shard in product.dev["shards"]] == ["shard-0", "shard-1", "shard-2"]
    assert set(product.dev["pids"]) == {"control", "edge", "postgres", "shard-0", "shard-1", "shard-2"}
    assert all(is_alive(pid) for pid in product.dev["pids"].values())
    for name in ("dev.json", "stack.json"):
        assert stat.S_IMODE((product.directory / name).stat().st_mode) == 0o600


def test_a_second_start_is_refused(product: Product) -> None:
    """A second launcher says in one line that one runs already, and changes nothing."""
    before = (product.directory / "dev.json").read_bytes()
    second = product.launch()
    output, _ = second.communicate(timeout=PROMPT_S)
    assert second.returncode != 0
    assert len(output.splitlines()) == 1
    assert str(product.process.pid) in output
    assert (product.directory / "dev.json").read_bytes() == before
    assert product.call("GET", "/api/v1/links").status == 200


def test_a_taken_port_is_named(new_product: NewProduct) -> None:
    """A launcher whose port is taken names the port and its setting, and starts nothing."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        process = new_product(POINTSMAN_EDGE_PORT=port).launch()
        output, _ = process.communicate(timeout=PROMPT_S)
    assert process.returncode != 0
    assert len(output.splitlines()) == 1
    assert port in output
    assert "POINTSMAN_EDGE_PORT" in output


def test_a_bad_setting_is_named(new_product: NewProduct) -> None:
    """A setting that cannot be used is named in one line."""
    process = new_product(POINTSMAN_EDGE_WORKERS="many").launch()
    output, _ = process.communicate(timeout=PROMPT_S)
    assert process.returncode != 0
    assert "POINTSMAN_EDGE_WORKERS" in output
    assert len(output.splitlines()) == 1


def test_all_data_are_kept_over_a_restart(new_product: NewProduct) -> None:
    """Stopped, it leaves nothing running; started again, it has its links, its key and its addresses."""
    product = new_product().start()
    link = product.create("https://example.com/kept")
    first, running = product.dev, product.processes()
    output = product.stop()
    assert product.process.returncode == 0, output
    assert not any(is_alive(pid) for pid in running)
    assert not (product.directory / "dev.json").exists()
    product.start()
    assert product.dev["api_key"] == first["api_key"]
    assert product.dev["shards"] == first["shards"]
    assert product.call("GET", f"/api/v1/links/{link['code']}").json == link
    until(lambda: product.follow_often(link["code"]) == {(302, "https://example.com/kept")}, PROMPT_S)


def test_a_killed_launcher_leaves_no_orphan(new_product: NewProduct) -> None:
    """After SIGKILL of the launcher every process below it ends, and the next start finds all data."""
    product = new_product().start()
    link = product.create("https://example.com/survives")
    handles = [os.pidfd_open(pid) for pid in product.processes()]
    assert len(handles) > len(product.dev["pids"]), "the edge's workers and PostgreSQL's processes are among them"
    product.process.kill()
    product.process.communicate()
    product.start()  # at once: it waits for what is still on its way out
    for handle in handles:
        until_ended(handle, timeout_s=0)
    until(lambda: product.follow_often(link["code"]) == {(302, "https://example.com/survives")}, PROMPT_S)


def test_a_killed_make_leaves_no_orphan(new_product: NewProduct, tmp_path: Path) -> None:
    """After SIGKILL of the `make` above the launcher everything ends in good order."""
    product = new_product().start(("make", "-C", str(ROOT), "run", f"VENV={_environment(tmp_path / 'venv')}"))
    handles = [os.pidfd_open(pid) for pid in product.processes()]
    product.process.kill()
    product.process.communicate()
    for handle in handles:
        until_ended(handle)
    assert not (product.directory / "dev.json").exists()


def _environment(directory: Path) -> Path:
    """What `make` takes for its environment, up to date: its commands are run by the Python that runs the tests."""
    (directory / "bin").mkdir(parents=True)
    for name, command in (("python", ""), ("pointsman", "-m control")):
        file = directory / "bin" / name
        file.write_text(f'#!/bin/sh\nexec {sys.executable} {command} "$@"\n')
        file.chmod(0o755)
    for stamp in ("installed", "built"):
        (directory / stamp).touch()
    return directory


def test_a_stop_while_starting_leaves_nothing(new_product: NewProduct) -> None:
    """SIGTERM in the midst of the start ends what has been started so far."""
    product = new_product()
    product.process = product.launch()
    assert product.process.stdout is not None
    until(lambda: "postgres: ready" in product.process.stdout.readline(), PROMPT_S)  # type: ignore[union-attr]
    handles = [os.pidfd_open(pid) for pid in product.processes()]
    product.stop()
    assert product.process.returncode == 0
    for handle in handles:
        until_ended(handle, timeout_s=0)
    assert not (product.directory / "dev.json").exists()


def test_a_child_that_keeps_dying_is_given_up_on(new_product: NewProduct) -> None:
    """A child that is killed is named and started again; one that is killed again and again stops everything."""
    product = new_product().start()
    handles = [os.pidfd_open(pid) for pid in product.processes()]
    killed: set[int] = set()
    while product.process.poll() is None:
        pid = _pid(product, "shard-2")
        if pid not in {*killed, 0}:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        until(lambda: product.process.poll() is not None or _pid(product, "shard-2") not in killed, PROMPT_S)
    output, _ = product.process.communicate(timeout=STOP_TIMEOUT_S)
    assert product.process.returncode != 0
    assert len(killed) == 5
    assert "shard-2 ended with SIGKILL" in output
    assert "shard-2 ended 5 times" in output
    assert str(product.directory / "log" / "shard-2.log") in output
    for handle in handles:
        until_ended(handle, timeout_s=0)
    assert not (product.directory / "dev.json").exists()


def _pid(product: Product, name: str) -> int:
    """The pid that dev.json names now; 0 when it is not there."""
    file = product.directory / "dev.json"
    try:
        return int(json.loads(file.read_text())["pids"].get(name, 0))
    except FileNotFoundError:
        return 0

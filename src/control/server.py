"""Runs the application under Granian, in this process, until a signal says stop."""

import asyncio
import signal
import socket
from typing import Final

from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server

from control.app import build, prepare_database
from control.config import ControlConfig
from control.db import open_database
from control.errors import Error
from control.log import Logger

# Answers take milliseconds; ?wait=edges takes longest.
STOP_TIMEOUT_S: Final = 3.0


async def serve(config: ControlConfig, log: Logger) -> None:
    """Serve until SIGTERM or SIGINT. Raises Error if the port is taken or migrations are missing."""
    _check_port(config)
    await _prepare_database(config, log)
    stopping = asyncio.Event()
    application = await build(config, log, stopping)
    server = Server(
        application,
        address=config.control_host,
        port=config.control_port,
        interface=Interfaces.ASGI,
        log_level=LogLevels.error,
        websockets=False,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await _run(server, stopping, config, log)


async def _run(server: Server, stopping: asyncio.Event, config: ControlConfig, log: Logger) -> None:
    serving = asyncio.ensure_future(server.serve())
    stop = asyncio.ensure_future(stopping.wait())
    log.info("control is up", url=f"http://{config.control_host}:{config.control_port}", short_url=config.short_url)
    await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if serving.done():
        serving.result()
        raise Error("server_stopped", "the HTTP server stopped by itself; see the log above")
    log.info("control is stopping")
    server.stop()  # type: ignore[no-untyped-call]
    _, outstanding = await asyncio.wait((serving,), timeout=STOP_TIMEOUT_S)
    log.info("control has stopped", is_in_time=not outstanding)


def _check_port(config: ControlConfig) -> None:
    """Granian would bind beside another Granian (SO_REUSEPORT) and share its traffic; refuse that here."""
    family = socket.AF_INET6 if ":" in config.control_host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.control_host, config.control_port))
        except OSError as error:
            address = f"{config.control_host}:{config.control_port}"
            raise Error(
                "address_taken",
                f"cannot listen on {address}: {error.strerror}; stop what listens there or set POINTSMAN_CONTROL_PORT",
            ) from error


async def _prepare_database(config: ControlConfig, log: Logger) -> None:
    """A database that is down is waited for while serving; one that is behind is not used."""
    database = await open_database(config.database_url)
    try:
        await prepare_database(database, config)
    except Error as error:
        if error.code != "database_unavailable":
            raise
        log.warning("PostgreSQL cannot be used yet; the API answers 503 until it can", reason=error.message)
    finally:
        await database.close()

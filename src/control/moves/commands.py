"""pointsman shard add, remove, reweight, replace, drain; pointsman move …"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click
from rich.console import Console

from control import command
from control.config import ControlConfig
from control.db import Database
from control.errors import Error
from control.moves import sheets
from control.moves.following import follow
from control.moves.model import Move, MoveRequest
from control.moves.service import Moves
from control.moves.tasks import speed_of
from control.shards.commands import shard

LIST_LENGTH: Final = 20
_T = TypeVar("_T")
_MOVE: Final = click.argument("move_id", metavar="MOVE", type=click.IntRange(1, 2**63 - 1))
_REPLICAS: Final = click.option(
    "--replica", "replicas", multiple=True, metavar="URL", help="A replica of it; may be given several times."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    is_plan: bool
    is_sure: bool
    is_followed: bool


def _starts_move(function: Callable[..., None]) -> Callable[..., None]:
    """The options of each command that starts a move, as its argument `how`."""

    @click.option("--plan", "is_plan", is_flag=True, help="Only print what would move.")
    @click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
    @click.option("--no-wait", "is_left", is_flag=True, help="Start it and return, without following it.")
    def with_options(*, is_plan: bool, is_sure: bool, is_left: bool, **values: Any) -> None:
        function(how=_How(is_plan=is_plan, is_sure=is_sure, is_followed=not is_left), **values)

    with_options.__name__ = function.__name__
    with_options.__doc__ = function.__doc__
    return with_options


@shard.command()
@click.argument("shard_id", metavar="ID")
@click.argument("url")
@click.option("--weight", type=float, help="Its share of the keys beside the others' weights.  [default: 1]")
@_REPLICAS
@_starts_move
def add(shard_id: str, url: str, weight: float | None, replicas: tuple[str, ...], how: _How) -> None:
    """Bring in the Redis at URL as shard ID: its share of the links comes from all others."""
    _start(MoveRequest(kind="add", shard_id=shard_id, url=url, weight=weight, replicas=replicas), how)


@shard.command()
@click.argument("shard_id", metavar="ID")
@_starts_move
def remove(shard_id: str, how: _How) -> None:
    """Take the shard ID out: its links go to all others, and it is emptied."""
    _start(MoveRequest(kind="remove", shard_id=shard_id), how)


@shard.command()
@click.argument("shard_id", metavar="ID")
@click.argument("weight", type=float)
@_starts_move
def reweight(shard_id: str, weight: float, how: _How) -> None:
    """Give the shard ID another WEIGHT, in hundredths."""
    _start(MoveRequest(kind="reweight", shard_id=shard_id, weight=weight), how)


@shard.command()
@click.argument("shard_id", metavar="ID")
@click.argument("new_id", metavar="NEW_ID")
@click.argument("url")
@_REPLICAS
@_starts_move
def replace(shard_id: str, new_id: str, url: str, replicas: tuple[str, ...], how: _How) -> None:
    """Let the Redis at URL, as shard NEW_ID, take the place of the shard ID: its links move, and no others."""
    _start(MoveRequest(kind="replace", shard_id=shard_id, new_id=new_id, url=url, replicas=replicas), how)


@shard.command()
@click.argument("shard_id", metavar="ID")
@_starts_move
def drain(shard_id: str, how: _How) -> None:
    """Take all links from the shard ID; it stays in the topology, with weight 0."""
    _start(MoveRequest(kind="drain", shard_id=shard_id), how)


@click.group()
def move() -> None:
    """Show moves of links between shards, and steer one that is under way."""


@move.command("list")
@click.option("--limit", type=click.IntRange(1, 100), default=LIST_LENGTH, show_default=True)
def list_moves(limit: int) -> None:
    """List the newest moves."""
    Console().print(sheets.of_moves(_run(lambda moves: moves.list(None, limit))))


@move.command()
@_MOVE
def show(move_id: int) -> None:
    """Show a move and what has happened in it."""
    found = _run(lambda moves: moves.get(move_id))
    Console().print(sheets.of_progress(found))
    Console().print(sheets.of_history(_run(lambda moves: moves.events(move_id))))


@move.command()
@click.argument("move_id", metavar="[MOVE]", required=False, type=click.IntRange(1, 2**63 - 1))
def watch(move_id: int | None) -> None:
    """Follow a move until it ends: MOVE, or else the newest. Ends with 1 if the move is taken back."""
    if move_id is None:
        newest = _run(lambda moves: moves.list(None, 1))
        if not newest:
            raise Error("move_unknown", "there has been no move yet; `pointsman shard --help` shows what starts one")
        move_id = newest[0].id
    _follow(move_id)


@move.command()
@_MOVE
def pause(move_id: int) -> None:
    """Let a move do nothing more, after the page that is under way."""
    _run(lambda moves: moves.pause(move_id))
    click.echo(f"move {move_id} pauses; `pointsman move resume {move_id}` lets it go on")


@move.command()
@_MOVE
def resume(move_id: int) -> None:
    """Let a paused move go on."""
    _run(lambda moves: moves.resume(move_id))
    click.echo(f"move {move_id} goes on; `pointsman move watch {move_id}` follows it")


@move.command()
@_MOVE
def abort(move_id: int) -> None:
    """Give a move up, and take back what it has done."""
    _run(lambda moves: moves.abort(move_id))
    click.echo(f"move {move_id} is taken back; `pointsman move watch {move_id}` follows it")


@move.command()
@_MOVE
def reverse(move_id: int) -> None:
    """Let edges read the old ring again, after the cut-over and before the move is final."""
    _run(lambda moves: moves.reverse(move_id))
    click.echo(f"move {move_id} is turned back; `pointsman move watch {move_id}` follows it")


@move.command()
@_MOVE
@click.argument("shard_id", metavar="SHARD")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
def lost(move_id: int, shard_id: str, is_sure: bool) -> None:
    """Let a move go on without a shard that will not come back.

    Only for a shard that no edge can reach either: an edge that wakes up with an old topology could believe it.
    """
    if not is_sure:
        click.confirm(f"Is {shard_id} gone for good, and out of reach for every edge?", abort=True)
    _run(lambda moves: moves.declare_lost(move_id, shard_id))
    click.echo(f"move {move_id} goes on without {shard_id}")


def _start(request: MoveRequest, how: _How) -> None:
    planned = _run(lambda moves: moves.plan(request))
    for part in sheets.of_plan(planned):
        Console().print(part)
    if how.is_plan:
        return
    if not how.is_sure:
        click.confirm("Move these links?", abort=True)
    started = _run(lambda moves: moves.carry_out(planned))
    click.echo(f"move {started.id} has begun")
    if how.is_followed:
        _follow(started.id)


def _follow(move_id: int) -> None:
    try:
        ended = _run(lambda moves: follow(moves, move_id, Console()))
    except KeyboardInterrupt:
        click.echo(f"move {move_id} goes on; `pointsman move watch {move_id}` follows it, `… abort …` takes it back")
        raise
    _judge(ended)


def _judge(ended: Move) -> None:
    if ended.phase != "done":
        raise click.ClickException(
            f"move {ended.id} was taken back: it is {ended.phase}; `pointsman move show {ended.id}` says what happened"
        )
    click.echo(f"move {ended.id} is done")


def _run(work: Callable[[Moves], Awaitable[_T]]) -> _T:
    """With the service, without a driver to wake: that of `pointsman control` looks every second."""

    async def with_moves(config: ControlConfig, database: Database) -> _T:
        return await work(Moves(database, lambda: None, speed_of(config)))

    return command.run_configured(with_moves)

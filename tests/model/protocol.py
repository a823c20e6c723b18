"""Two links move from shard A to shard B while a writer changes them and two edges answer.

Everything that a process of its own does is a step of its own, and any step may be the next one, so a process that
crashes, sleeps or is slow is one whose steps come late or never. What the steps may rely on are the rules; each can be
taken out, and the explorer must then find what it was for.

Time is in one fact only: an edge's lease ends before its heartbeat does (`lease_ends`, then `is_gone`).
"""

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeVar

LINKS: Final = (0, 1)
A: Final = 0
B: Final = 1
SHARDS: Final = (A, B)
ABSENT: Final = 0  # the version of a link that is not there
NO_FENCE: Final = -1
GONE: Final = -1  # no heartbeat

Links = int  # a set of links: bit n is link n
ALL: Final[Links] = 0b11

T = TypeVar("T")

RULES: Final = frozenset({"fence", "lease", "arming", "placement_lock", "walk", "fenced_work"})


class Document(NamedTuple):
    """A topology: links are at A on the old ring and at B on the new one."""

    epoch: int
    mode: str
    is_new: bool  # which ring is read

    @property
    def reads(self) -> int:
        """The shard whose answers are final to an edge that holds this document."""
        return B if self.is_new else A

    @property
    def writes(self) -> tuple[int, ...]:
        """The shards that projectors write to."""
        return (self.reads,) if self.mode == "steady" else (A, B)


class Shard(NamedTuple):
    """What a Redis process holds."""

    fence: int
    is_complete: bool
    versions: tuple[int, ...]


class Entry(NamedTuple):
    """An entry of L1 and the shard whose pushes cover it."""

    version: int
    shard: int


NOTHING: Final = Entry(-1, -1)


class Edge(NamedTuple):
    """One worker. `pushes[s]` are the links whose invalidation by s has not arrived yet.

    `asked_for` are the links that its clients want: of two edges each has one, because links do not touch each other.
    """

    asked_for: Links
    held: Document
    trusted: tuple[bool, ...]
    entries: tuple[Entry, ...]
    pushes: tuple[Links, ...]
    heartbeat: int


class Batch(NamedTuple):
    """A write of a link's version as it was read. The move's, not a projector's, name the fence that must be there."""

    link: int
    version: int
    targets: tuple[int, ...]
    fence: int = NO_FENCE


class Delete(NamedTuple):
    """A delete on its way, and the fence that must still be there."""

    shard: int
    link: int
    fence: int


class State(NamedTuple):
    """Everything. `late` is what a process that was given up for dead may still write."""

    truth: tuple[int, ...]
    changes_left: int
    outbox: Links
    batch: Batch | None
    late: Batch | None
    late_delete: Delete | None
    is_littered: bool  # something late may have written where nobody reads
    shards: tuple[Shard, ...]
    edges: tuple[Edge, ...]
    document: Document
    phase: str
    done: Links  # those that the present phase is through with
    copying: Batch | None
    deleting: Delete | None
    losses_left: int
    pauses_left: int
    moves_left: int


# Where each phase goes when its work is done, and the document that is published on the way: mode, is_new.
FORWARD: Final = {
    "planned": ("arming_writes", ("armed", False)),
    "arming_writes": ("copying", None),
    "copying": ("verifying", None),
    "verifying": ("arming_reads", ("sampling", False)),
    "arming_reads": ("cutting_over", ("cut-over", True)),
    "cutting_over": ("soaking", ("soaking", True)),
    "soaking": ("cleaning", ("steady", True)),
    "cleaning": ("done", None),
    "reversing": ("restoring", ("soaking", False)),
    "restoring": ("compensating", ("steady", False)),
    "compensating": ("aborted", None),
}
# What an abort does in each phase that knows one.
BACKWARD: Final = {
    "arming_writes": ("compensating", ("steady", False)),
    "copying": ("compensating", ("steady", False)),
    "verifying": ("compensating", ("steady", False)),
    "arming_reads": ("compensating", ("steady", False)),
    "cutting_over": ("reversing", ("cut-over", False)),
    "soaking": ("reversing", ("cut-over", False)),
}
ENDS: Final = ("done", "aborted")


def start(*, edges: int = 2, changes: int = 1, losses: int = 0, pauses: int = 0, moves: int = 1) -> State:
    """One link that is there and one that is not; the edges serve; a move is planned."""
    document = Document(1, "steady", False)
    truth = (1, ABSENT)
    serving = [
        Edge(asked_for, document, (True, False), (NOTHING, NOTHING), (0, 0), document.epoch)
        for asked_for in {0: (), 1: (ALL,), 2: (0b01, 0b10)}[edges]
    ]
    return State(
        truth=truth,
        changes_left=changes,
        outbox=0,
        batch=None,
        late=None,
        late_delete=None,
        is_littered=False,
        shards=(Shard(1, True, truth), Shard(NO_FENCE, False, (ABSENT, ABSENT))),
        edges=tuple(serving),
        document=document,
        phase="planned",
        done=0,
        copying=None,
        deleting=None,
        losses_left=losses,
        pauses_left=pauses,
        moves_left=moves - 1,
    )


class Protocol:
    """The steps, under a set of rules."""

    def __init__(self, rules: frozenset[str] = RULES) -> None:
        self._rules = rules

    def following(self, state: State) -> Iterator[tuple[str, State]]:
        """Every step that may come next, with its name."""
        yield from self._writer(state)
        yield from self._projector(state)
        yield from self._keepers(state)
        yield from self._driver(state)
        yield from self._losses(state)
        for number in range(len(state.edges)):
            yield from self._edge(state, number)

    # ---- writer and projector

    def _writer(self, state: State) -> Iterator[tuple[str, State]]:
        if not state.changes_left:
            return
        for link in LINKS:
            truth = _with(state.truth, link, state.truth[link] + 1)
            after = state._replace(truth=truth, changes_left=state.changes_left - 1, outbox=state.outbox | 1 << link)
            yield f"change {link}", after

    def _projector(self, state: State) -> Iterator[tuple[str, State]]:
        if state.batch is None:
            for link in _each(state.outbox):
                batch = Batch(link, state.truth[link], state.document.writes)
                yield f"take {link}", state._replace(batch=batch)
        elif state.batch.targets:
            target, *rest = state.batch.targets
            if state.shards[target].fence != NO_FENCE:
                after = _write(state, target, state.batch)
                yield f"project {target}", after._replace(batch=state.batch._replace(targets=tuple(rest)))
            if state.late is None and state.pauses_left:
                # Its transaction is ended from outside, and what it read is still on its way.
                yield "projector_sleeps", self._slept(state)._replace(batch=None, late=state.batch, is_littered=True)
        else:
            is_newest = state.batch.version == state.truth[state.batch.link]
            outbox = state.outbox & ~(1 << state.batch.link) if is_newest else state.outbox
            yield "commit", state._replace(batch=None, outbox=outbox)
        if state.late is not None:
            yield "late_writes", self._write_late(state, state.late)

    def _slept(self, state: State) -> State:
        return state._replace(pauses_left=state.pauses_left - 1)

    def _write_late(self, state: State, late: Batch) -> State:
        for target in late.targets:
            if self._takes(state, target, late):
                state = _write(state, target, late)
        return state._replace(late=None)

    def _takes(self, state: State, number: int, batch: Batch) -> bool:
        fence = state.shards[number].fence
        is_as_named = batch.fence in (NO_FENCE, fence) or "fenced_work" not in self._rules
        return fence != NO_FENCE and is_as_named

    # ---- control's keepers

    def _keepers(self, state: State) -> Iterator[tuple[str, State]]:
        members = SHARDS if state.phase != "planned" else (A,)
        for number in members:
            shard = state.shards[number]
            if shard.fence == NO_FENCE:
                yield f"fill {number}", self._filled(state, number)
            elif shard.fence < state.document.epoch:
                yield f"publish {number}", _with_shard(state, number, shard._replace(fence=state.document.epoch))

    def _filled(self, state: State, number: int) -> State:
        """A process that is new or was emptied; the move fills the shard that it brings in."""
        is_joining = number == B and state.phase in ("arming_writes", "copying", "verifying")
        if is_joining:
            shard = Shard(state.document.epoch, False, (ABSENT, ABSENT))
            return _with_shard(state, number, shard)._replace(done=0)
        is_owner = number in state.document.writes
        versions = state.truth if is_owner else (ABSENT, ABSENT)
        return _with_shard(state, number, Shard(state.document.epoch, True, versions))

    # ---- the move

    def _driver(self, state: State) -> Iterator[tuple[str, State]]:
        yield from self._work(state)
        if state.phase in FORWARD and self._may_leave(state):
            yield from self._enter(state, "advance", *FORWARD[state.phase])
        is_idle = state.copying is None and state.deleting is None
        if state.phase in BACKWARD and is_idle:
            yield from self._enter(state, "abort", *BACKWARD[state.phase])
        if state.phase == "aborted" and state.moves_left:
            yield "again", state._replace(phase="planned", done=0, moves_left=state.moves_left - 1)
        is_at_work = state.copying is not None or state.deleting is not None
        if is_at_work and state.pauses_left and state.late is None and state.late_delete is None:
            # Another driver goes on, and what this one has sent is still on its way.
            asleep = self._slept(state)._replace(
                copying=None, deleting=None, late=state.copying, late_delete=state.deleting
            )
            yield "driver_sleeps", asleep
        if state.late_delete is not None:
            yield "late_delete", self._delete(state, state.late_delete)._replace(late_delete=None)

    def _enter(
        self, state: State, why: str, phase: str, published: tuple[str, bool] | None
    ) -> Iterator[tuple[str, State]]:
        if published is not None:
            if state.batch is not None and "placement_lock" in self._rules:
                return
            if "arming" not in self._rules and published[0] == "armed":
                published = ("steady", False)
            state = state._replace(document=Document(state.document.epoch + 1, *published))
        if state.phase == "verifying" and phase == "arming_reads":
            state = _with_shard(state, B, state.shards[B]._replace(is_complete=True))
        yield f"{why} {phase}", state._replace(phase=phase, done=0)

    def _may_leave(self, state: State) -> bool:
        match state.phase:
            case "arming_writes":
                return self._are_fences_raised(state)
            case "copying" | "cleaning" | "compensating":
                return state.done == ALL and state.copying is None and state.deleting is None
            case "verifying":
                return state.done == ALL and state.shards[B].fence != NO_FENCE
            case "arming_reads" | "cutting_over" | "reversing":
                return self._have_followed(state)
            case "soaking" | "restoring":
                return self._may_stop_double_writes(state)
            case _:
                return True

    def _have_followed(self, state: State) -> bool:
        return all(edge.heartbeat == GONE or edge.heartbeat >= state.document.epoch for edge in state.edges)

    def _may_stop_double_writes(self, state: State) -> bool:
        """The barrier."""
        return "lease" not in self._rules or (self._are_fences_raised(state) and self._have_followed(state))

    def _are_fences_raised(self, state: State) -> bool:
        return all(shard.fence >= state.document.epoch for shard in state.shards)

    def _work(self, state: State) -> Iterator[tuple[str, State]]:
        if state.copying is not None:
            is_taken = self._takes(state, B, state.copying)
            after = _write(state, B, state.copying) if is_taken else state
            is_counted = state.phase == "copying" and is_taken
            done = state.done | 1 << state.copying.link if is_counted else state.done
            yield "copy_writes", after._replace(copying=None, done=done)
        if state.deleting is not None:
            yield "delete_arrives", self._delete(state, state.deleting)._replace(deleting=None)
        if state.phase == "verifying" and self._agrees(state):
            yield "verified", state._replace(done=ALL)
        loser = {"cleaning": A, "compensating": B}.get(state.phase)
        for link in LINKS if state.phase in ("copying", "cleaning", "compensating") else ():
            if state.done >> link & 1:
                continue
            if state.phase == "copying" and state.copying is None and state.shards[B].fence != NO_FENCE:
                yield f"copy_reads {link}", state._replace(copying=self._copied(state, link))
            if loser is not None and state.deleting is None and state.shards[loser].fence >= state.document.epoch:
                yield f"delete_sent {link}", state._replace(deleting=Delete(loser, link, state.shards[loser].fence))

    def _agrees(self, state: State) -> bool:
        """Counts and digests agree with PostgreSQL, looked at when nothing is under way."""
        is_quiet = state.done != ALL and not state.outbox and state.batch is None
        return is_quiet and state.shards[B].fence != NO_FENCE and state.shards[B].versions == state.truth

    def _copied(self, state: State, link: int) -> Batch:
        return Batch(link, state.truth[link], (B,), state.shards[B].fence)

    def _delete(self, state: State, delete: Delete) -> State:
        number, link, fence = delete
        shard = state.shards[number]
        is_ours = shard.fence == fence or "fenced_work" not in self._rules
        if is_ours:
            state = _with_shard(state, number, shard._replace(versions=_with(shard.versions, link, ABSENT)))
            state = _push(state, number, link)
        is_through = state.phase in ("cleaning", "compensating") and shard.fence == fence
        return state._replace(done=state.done | 1 << link if is_through else state.done)

    # ---- what goes wrong

    def _losses(self, state: State) -> Iterator[tuple[str, State]]:
        if not state.losses_left:
            return
        for number in SHARDS:
            if state.shards[number].fence == NO_FENCE:
                continue
            after = _with_shard(state, number, Shard(NO_FENCE, False, (ABSENT, ABSENT)))
            edges = tuple(_distrusting(edge, number) for edge in after.edges)
            is_copied_to = number == B and state.phase in ("copying", "verifying")
            done = 0 if is_copied_to else state.done
            yield f"shard_lost {number}", after._replace(edges=edges, losses_left=state.losses_left - 1, done=done)

    # ---- the edges

    def _edge(self, state: State, number: int) -> Iterator[tuple[str, State]]:
        edge = state.edges[number]
        for step, changed in self._changed(state, edge):
            yield f"{step} {number}", state._replace(edges=_with(state.edges, number, changed))

    def _changed(self, state: State, edge: Edge) -> Iterator[tuple[str, Edge]]:
        for shard in SHARDS:
            is_connected = shard == A or edge.held.mode != "steady" or edge.held.is_new
            if is_connected and state.shards[shard].fence != NO_FENCE:
                yield from self._heard(state, edge, shard)
        for link in _each(edge.asked_for):
            filled = self._filled_entry(state, edge, link)
            if filled is not None:
                yield "look_up", filled
        if any(edge.trusted):
            yield "lease_ends", edge._replace(trusted=(False, False))
        elif edge.heartbeat != GONE:
            yield "is_gone", edge._replace(heartbeat=GONE)

    def _heard(self, state: State, edge: Edge, shard: int) -> Iterator[tuple[str, Edge]]:
        for link in _each(edge.pushes[shard]):
            yield "push", _delivered(edge, shard, link)
        if not edge.pushes[shard]:
            yield "proof", self._proven(state, edge, shard)
        elif edge.trusted[shard]:
            yield "cut", _distrusting(edge, shard)
        adopted = self._adopted(state, edge, shard)
        if adopted is not None:
            yield "adopt", adopted

    def _proven(self, state: State, edge: Edge, shard: int) -> Edge:
        """A ping and a heartbeat were answered, behind every push."""
        is_current = state.shards[shard].fence <= edge.held.epoch
        trusted = _with(edge.trusted, shard, is_current or "fence" not in self._rules or edge.trusted[shard])
        return edge._replace(trusted=trusted, heartbeat=max(edge.heartbeat, edge.held.epoch))

    def _adopted(self, state: State, edge: Edge, shard: int) -> Edge | None:
        """The document that the shard carries is the one of its fence; a newer one is taken whole."""
        if state.shards[shard].fence != state.document.epoch or state.document.epoch <= edge.held.epoch:
            return None
        document = state.document
        entries = edge.entries
        if document.mode in ("soaking", "steady") and "walk" in self._rules:
            entries = tuple(entry if entry.shard == document.reads else NOTHING for entry in entries)
        return edge._replace(held=document, entries=entries)

    def _filled_entry(self, state: State, edge: Edge, link: int) -> Edge | None:
        owner = edge.held.reads
        if edge.entries[link] != NOTHING or not edge.trusted[owner] or edge.pushes[owner] >> link & 1:
            return None
        found = self.read(state, edge, owner, link)
        return None if found is None else edge._replace(entries=_with(edge.entries, link, Entry(found, owner)))

    # ---- what is looked at

    def read(self, state: State, edge: Edge, number: int, link: int) -> int | None:
        """What a look-up at this shard says finally; None if it says nothing final."""
        shard = state.shards[number]
        if shard.fence == NO_FENCE or (shard.fence > edge.held.epoch and "fence" in self._rules):
            return None
        version = shard.versions[link]
        if version == ABSENT and not (shard.is_complete and shard.fence == edge.held.epoch):
            return None
        return version

    def answer(self, state: State, edge: Edge, link: int) -> int | None:
        """What the edge would answer now; None if it would ask PostgreSQL, which is right."""
        entry = edge.entries[link]
        if entry != NOTHING and edge.trusted[entry.shard]:
            return entry.version
        owner = edge.held.reads
        found = self.read(state, edge, owner, link) if edge.trusted[owner] else None
        other = A if owner == B else B
        if not found and edge.held.mode == "cut-over" and edge.trusted[other]:
            found = self.read(state, edge, other, link) or found
        return found

    def wrong(self, state: State) -> str | None:
        """What no state may show."""
        for number, edge in enumerate(state.edges):
            for link in _each(edge.asked_for):
                if _is_under_way(state, edge, link):
                    continue
                answered = self.answer(state, edge, link)
                if answered is not None and answered != state.truth[link]:
                    return f"edge {number} answers version {answered} of link {link}, which is at {state.truth[link]}"
        return self._left_over(state)

    def _left_over(self, state: State) -> str | None:
        """What an ended move leaves: every link at its owner, none elsewhere."""
        is_busy = state.outbox or state.batch is not None or state.late_delete is not None
        if state.phase not in ENDS or is_busy or NO_FENCE in (shard.fence for shard in state.shards):
            return None
        owner = state.document.reads
        other = A if owner == B else B
        if state.shards[owner].versions != state.truth:
            return f"the move ended and shard {owner} holds {state.shards[owner].versions}, not {state.truth}"
        if any(state.shards[other].versions) and not state.is_littered:
            return f"the move ended and shard {other} still holds {state.shards[other].versions}"
        return None


def end(state: State) -> str | None:
    """The phase if it is one in which a move ends."""
    return state.phase if state.phase in ENDS else None


def _is_under_way(state: State, edge: Edge, link: int) -> bool:
    """Whether the edge may be behind: the change is not projected, or its push has not arrived."""
    return bool((state.outbox | edge.pushes[A] | edge.pushes[B]) >> link & 1)


def _write(state: State, number: int, batch: Batch) -> State:
    """Compare-and-set by version; whoever tracks the shard is told."""
    shard = state.shards[number]
    if shard.versions[batch.link] >= batch.version:
        return state
    changed = shard._replace(versions=_with(shard.versions, batch.link, batch.version))
    return _push(_with_shard(state, number, changed), number, batch.link)


def _push(state: State, number: int, link: int) -> State:
    edges = tuple(
        edge._replace(pushes=_with(edge.pushes, number, edge.pushes[number] | 1 << link))
        if edge.entries[link].shard == number
        else edge
        for edge in state.edges
    )
    return state._replace(edges=edges)


def _delivered(edge: Edge, shard: int, link: int) -> Edge:
    entries = edge.entries
    if entries[link].shard == shard:
        entries = _with(entries, link, NOTHING)
    return edge._replace(entries=entries, pushes=_with(edge.pushes, shard, edge.pushes[shard] & ~(1 << link)))


def _distrusting(edge: Edge, shard: int) -> Edge:
    """The connection is lost: what came over it is believed no more."""
    entries = tuple(NOTHING if entry.shard == shard else entry for entry in edge.entries)
    pushes = _with(edge.pushes, shard, 0)
    return edge._replace(entries=entries, pushes=pushes, trusted=_with(edge.trusted, shard, False))


def _each(links: Links) -> Iterator[int]:
    return (link for link in LINKS if links >> link & 1)


def _with_shard(state: State, number: int, shard: Shard) -> State:
    return state._replace(shards=_with(state.shards, number, shard))


def _with(items: tuple[T, ...], index: int, value: T) -> tuple[T, ...]:
    """A tuple with one item replaced."""
    return (*items[:index], value, *items[index + 1 :])

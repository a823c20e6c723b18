"""What a pass of the audit finds, and that it repairs it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count

import pytest
import redis

from control.audit import drift, keys
from control.audit.passes import Held, Pass
from control.links.model import stored_hash
from control.moves import throttle
from control.moves.work import Pace
from control.shards.connection import ShardConnection
from control.shards.current import placement_of
from tests.control.audit.findings import audit, changed, drop, get, owner, put
from tests.control.moves.ground import Ground, add_one, play
from tests.stack.server import RedisServer

CODES = [f"c{number}" for number in range(400)]
SLOW = Pace(links_s=400, latency_s=5.0)


pytestmark = pytest.mark.usefixtures("small_pages")


async def _break_five(ground: Ground) -> dict[str, dict[str, int]]:
    """Two links missing, and one each older, newer and different; returns what an audit has to find."""
    await ground.put("c2", "https://example.com/second")
    await ground.wait_projected()
    found: dict[str, dict[str, int]] = {}
    for code, kind in (("c0", "missing"), ("c1", "missing"), ("c2", "older"), ("c3", "newer"), ("c4", "different")):
        shard_id, server = await owner(ground, code)
        kinds = found.setdefault(shard_id, {})
        kinds[kind] = kinds.get(kind, 0) + 1
        value = get(server, code)
        if kind == "missing":
            drop(server, code)
        else:
            version = {"older": 1, "newer": 9, "different": 1}[kind]
            put(server, code, changed(value, b"https://wrong.example/", version))
    return found


def test_shards_that_hold_what_they_should_have_no_drift(database_url: str, three: list[RedisServer]) -> None:
    """Every link is compared and every key looked through, once; tombstones are no drift."""

    async def work(ground: Ground) -> None:
        await ground.delete("c7")
        await ground.wait_projected()
        tally = await audit(ground)
        assert tally.drift == {}
        assert (tally.compared, tally.keys) == (len(CODES), len(CODES))
        assert tally.is_whole

    play(database_url, three, add_one(three), CODES, work)


def test_drift_is_found_by_kind_and_repaired(database_url: str, three: list[RedisServer]) -> None:
    """Wrong values and deleted keys are found at their shard, and the next pass finds nothing."""

    async def work(ground: Ground) -> None:
        broken = await _break_five(ground)
        tally = await audit(ground)
        assert tally.drift == broken
        assert (tally.drifts, tally.repaired) == (5, 5)
        await ground.wait_projected()
        await ground.assert_placed()
        assert (await audit(ground)).drift == {}

    play(database_url, three, add_one(three), CODES, work)


def test_without_repair_drift_is_only_found(database_url: str, three: list[RedisServer]) -> None:
    """What is wrong stays, and of one shard only its own is found."""

    async def work(ground: Ground) -> None:
        broken = await _break_five(ground)
        put(ground.servers["shard-0"], "nobody", b"x" * 40)
        broken.setdefault("shard-0", {})
        tally = await audit(ground, is_repairing=False)
        # A code that no link has belongs to one of the shards all the same.
        kind = "orphan" if "orphan" in tally.drift["shard-0"] else "misplaced"
        assert tally.drift == broken | {"shard-0": broken["shard-0"] | {kind: 1}}
        assert tally.repaired == 0
        for shard_id in ("shard-0", "shard-1"):
            alone = await audit(ground, is_repairing=False, shard_id=shard_id)
            assert alone.drift == {key: value for key, value in tally.drift.items() if key == shard_id}

    play(database_url, three, add_one(three), CODES, work)


def test_keys_that_should_not_be_there_are_removed(database_url: str, three: list[RedisServer]) -> None:
    """A key without a row, one that no link can have, and a link's key on a shard that does not own it."""

    async def work(ground: Ground) -> None:
        shard_id, server = await owner(ground, "c0")
        other_id = "shard-1" if shard_id == "shard-0" else "shard-0"
        value = get(server, "c0")
        assert value is not None
        put(ground.servers[other_id], "c0", value)
        orphans = [f"x{number}" for number in range(20)]
        for code in orphans:
            for name in ("shard-0", "shard-1"):
                put(ground.servers[name], code, value)
        tally = await audit(ground)
        kinds = {kind: sum(found.get(kind, 0) for found in tally.drift.values()) for kind in ("orphan", "misplaced")}
        assert kinds == {"orphan": 20, "misplaced": 21}
        assert tally.repaired == 41
        await ground.assert_placed()
        # A link that takes such a code is there: nothing of a higher version is in its way.
        await ground.put("x1", "https://example.com/new")
        await ground.wait_projected()
        await ground.assert_placed()
        assert (await audit(ground)).drift == {}

    play(database_url, three, add_one(three), CODES, work)


def test_links_that_change_meanwhile_are_no_drift(database_url: str, three: list[RedisServer]) -> None:
    """Links are changed, deleted and created as fast as it goes, during several passes."""

    async def work(ground: Ground) -> None:
        async def change() -> None:
            for turn in range(10_000):
                code = CODES[turn * 7 % len(CODES)]
                await ground.put(code, f"https://example.com/{turn}")
                if turn % 5 == 0:
                    await ground.delete(code)

        changing = asyncio.create_task(change())
        for _ in range(3):
            tally = await audit(ground, pace=Pace(links_s=1000, latency_s=5.0))
            assert tally.drift == {}
            assert tally.is_whole
        assert not changing.done()
        changing.cancel()
        with suppress(asyncio.CancelledError):
            await changing

    play(database_url, three, add_one(three), CODES, work)


def test_a_change_that_is_not_projected_is_no_drift(
    database_url: str, three: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it hangs the pass is not whole; when it has arrived all is well."""

    async def work(ground: Ground) -> None:
        monkeypatch.setattr(drift, "LOOKS_MAX", 2)
        await ground.background.stop_one("projector")
        await ground.put("c5", "https://example.com/late")
        tally = await audit(ground)
        assert tally.drift == {}
        assert (tally.skipped, tally.compared) == (1, len(CODES) - 1)
        assert not tally.is_whole
        monkeypatch.setattr(drift, "LOOKS_MAX", 1000)
        waiting = asyncio.create_task(audit(ground))
        await asyncio.wait([waiting], timeout=0.5)
        assert not waiting.done()
        ground.background.start("projector", ground.projector.run)
        tally = await waiting
        assert tally.drift == {}
        assert tally.is_whole

    play(database_url, three, add_one(three), CODES, work)


def test_a_change_behind_a_newer_value_is_not_lost(database_url: str, three: list[RedisServer]) -> None:
    """1. A shard holds version 9; 2. the link becomes version 2, which does not replace that; 3. it is repaired."""

    async def work(ground: Ground) -> None:
        _, server = await owner(ground, "c3")
        put(server, "c3", changed(get(server, "c3"), b"https://wrong.example/", 9))
        await ground.put("c3", "https://example.com/2")
        await ground.wait_projected()
        tally = await audit(ground)
        assert [list(found) for found in tally.drift.values()] == [["newer"]]
        await ground.wait_projected()
        await ground.assert_placed()

    play(database_url, three, add_one(three), CODES, work)


def test_a_shard_that_goes_away_is_skipped(database_url: str, three: list[RedisServer]) -> None:
    """The other one is compared to the end; when it is back, a pass is whole."""

    async def work(ground: Ground) -> None:
        drop((await owner(ground, "c0"))[1], "c0")
        gone = "shard-1" if (await owner(ground, "c0"))[0] == "shard-0" else "shard-0"

        async def kill(going: Pass) -> None:
            if going.tally.compared > 50 and ground.servers[gone].is_running:
                ground.servers[gone].kill()

        # As slow as it becomes when a shard does not answer; pages stay small.
        tally = await audit(ground, pace=SLOW, on_report=kill)
        assert tally.skipped_shards == [gone]
        assert tally.drifts == tally.repaired == 1
        assert tally.compared + tally.skipped == len(CODES)
        ground.servers[gone].start()
        await ground.wait_fenced()
        assert (await audit(ground)).is_whole

    play(database_url, three, add_one(three), CODES, work)


def test_a_shard_that_was_emptied_has_no_drift(database_url: str, three: list[RedisServer]) -> None:
    """Its fence is gone with its links; its keeper fills it, and until then it is not judged."""

    async def work(ground: Ground) -> None:
        emptied = False

        async def empty(going: Pass) -> None:
            nonlocal emptied
            if going.tally.compared > 100 and not emptied:
                emptied = True
                with redis.Redis.from_url(ground.servers["shard-0"].url) as client:
                    client.flushall()

        tally = await audit(ground, pace=SLOW, on_report=empty)
        assert emptied
        assert tally.drift == {}

    play(database_url, three, add_one(three), CODES, work)


@pytest.mark.parametrize("phase", ["arming_writes", "copying", "verifying", "cleaning", "compensating"])
def test_it_holds_while_a_move_has_the_shards(database_url: str, three: list[RedisServer], phase: str) -> None:
    """In phases in which a shard need not hold what it owns; keys are not looked through during any."""

    async def work(ground: Ground) -> None:
        await _move(ground, phase)
        with pytest.raises(Held, match=phase):
            await audit(ground)

    play(database_url, three, add_one(three), CODES[:10], work)


def test_keys_are_not_looked_through_during_a_move(database_url: str, three: list[RedisServer]) -> None:
    """Links are compared while edges are waited for; then the pass holds."""

    async def work(ground: Ground) -> None:
        await _move(ground, "soaking")
        passes: list[Pass] = []

        async def note(going: Pass) -> None:
            passes.append(going)

        with pytest.raises(Held, match="keys"):
            await audit(ground, on_report=note)
        assert passes[-1].place.are_links_done
        assert passes[-1].tally.keys == 0

    play(database_url, three, add_one(three), CODES[:10], work)


async def _move(ground: Ground, phase: str) -> None:
    await ground.rows(
        """
        INSERT INTO moves (kind, shard_id, phase, before, after, plan) VALUES ('add', 'shard-2', $1, '', '', '{}')
        """,
        phase,
    )


def test_it_goes_slower_when_a_shard_does(database_url: str, three: list[RedisServer]) -> None:
    """A shard that answers later than it should slows the pass down; it comes to its end all the same."""

    async def work(ground: Ground) -> None:
        rates: list[float] = []

        async def note(going: Pass) -> None:
            rates.append(going._throttle.rate)

        tally = await audit(ground, pace=Pace(links_s=400, latency_s=0.0), on_report=note)
        assert tally.compared == len(CODES[:200])
        assert throttle.RATE_MIN <= min(rates) <= 200

    play(database_url, three, add_one(three), CODES[:200], work)


def test_the_rate_is_kept(database_url: str, three: list[RedisServer]) -> None:
    """Of links and of keys."""

    async def work(ground: Ground) -> None:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        tally = await audit(ground, pace=SLOW)
        assert loop.time() - begun_s >= (tally.compared + tally.keys) / SLOW.links_s - 2 * throttle.BURST_S

    play(database_url, three, add_one(three), CODES, work)


def test_it_reports_while_it_waits(database_url: str, three: list[RedisServer]) -> None:
    """Links of one hash come at once, however low the rate is: whoever watches the audit sees that it lives."""

    async def work(ground: Ground) -> None:
        compared: list[int] = []

        async def note(going: Pass) -> None:
            compared.append(going.tally.compared)

        await ground.rows("UPDATE links SET key_hash = $1", -(2**63))
        await audit(ground, pace=SLOW, on_report=note)
        assert compared.count(0) > 1

    play(database_url, three, add_one(three), CODES, work)


def test_a_topology_that_comes_meanwhile_makes_no_drift(
    database_url: str, three: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that was not the shard's own is, and a projector has written it there already."""
    first, second = three[:2]
    looks = count()

    async def work(ground: Ground) -> None:
        before = (await ground.placement()).owner_ids
        after = (await placement_of(ground.after)).owner_ids
        hashes = {code: stored_hash(1, code) + 2**63 for code in CODES}
        code = next(code for code, at in hashes.items() if (before(at), after(at)) == (("shard-1",), ("shard-0",)))
        value = get(second, code)
        assert value is not None
        put(first, code, value)

        async def change_first(shard: ShardConnection, link_keys: Sequence[bytes]) -> list[bytes | None]:
            if next(looks) == 1:
                await ground.enter("copying")
            return await held_by(shard, link_keys)

        monkeypatch.setattr(keys, "held_by", change_first)
        tally = await audit(ground)
        assert next(looks) > 1
        assert tally.drift == {}
        assert get(first, code) == value

    held_by = drift.held_by
    before, _ = add_one(three)
    heavy = replace(before, shards=(replace(before.shards[0], weight=4.0), *before.shards[1:]))
    play(database_url, three[:2], (before, heavy), CODES, work)

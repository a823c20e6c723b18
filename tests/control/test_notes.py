"""Notes about batches are worked off in bounded steps, however many there are."""

from control.projection import notes, store
from tests.control.scene import Scene, play
from tests.stack.server import RedisServer

LIMIT = 4
# A batch's notes are never parted, and each batch of these tests has two.
ROWS_MAX = LIMIT + 1
BATCHES = 15
SHARD = "shard-0"
# Fails a statement that removes more notes than it may, as the database's time limit would with millions.
GUARD = f"""
CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) FROM gone) > {ROWS_MAX} THEN
        RAISE EXCEPTION 'one statement removed % notes', (SELECT count(*) FROM gone);
    END IF;
    RETURN NULL;
END $$;
"""
TRIGGER = (
    "CREATE TRIGGER guard AFTER DELETE ON projected REFERENCING OLD TABLE AS gone "
    "FOR EACH STATEMENT EXECUTE FUNCTION guard()"
)
NOTES = "SELECT count(*), min(seq), max(seq) FROM projected WHERE shard_id = $1"


async def _note_batches(scene: Scene) -> None:
    """Fifteen batches of two links each on one shard, one of them in all batches; and a note about another shard."""
    await scene.rows(
        "INSERT INTO projected (shard_id, seq, link_id, version) "
        "SELECT $1, seq, link_id, seq FROM generate_series(1, $2::int) AS seq, unnest(ARRAY[1, 1000 + seq]) AS link_id",
        SHARD,
        BATCHES,
    )
    await scene.rows("INSERT INTO projected (shard_id, seq, link_id, version) VALUES ('shard-1', 12, 7, 7)")
    await scene.rows(GUARD)
    await scene.rows(TRIGGER)


def test_lost_batches_are_queued_again_in_steps(database_url: str, shards: list[RedisServer]) -> None:
    """All that stands above the recovered number, waiting for its shard, with the newest version; nothing else."""

    async def work(scene: Scene) -> None:
        await _note_batches(scene)
        async with scene.database.transaction() as connection:
            count = await notes.requeue_lost(connection, SHARD, 3, LIMIT)
        assert await scene.rows(NOTES, SHARD) == [(6, 1, 3)]
        assert await scene.rows(NOTES, "shard-1") == [(1, 12, 12)]
        queued = "SELECT link_id, max(version) FROM outbox WHERE waiting_shard = $1 GROUP BY link_id ORDER BY link_id"
        lost = [(1000 + seq, seq) for seq in range(4, BATCHES + 1)]
        assert await scene.rows(queued, SHARD) == [(1, BATCHES), *lost]
        assert await scene.rows("SELECT count(*) FROM outbox") == [(count,)]

    play(database_url, shards, work)


def test_interrupted_requeue_changes_nothing(database_url: str, shards: list[RedisServer]) -> None:
    """The steps are of one transaction: a keeper that dies between two of them leaves all notes where they were."""

    async def work(scene: Scene) -> None:
        await _note_batches(scene)
        async with scene.database.dedicated() as connection:
            await connection.transaction().start()
            assert await notes.requeue_lost(connection, SHARD, 0, LIMIT) > LIMIT
        assert await scene.rows(NOTES, SHARD) == [(2 * BATCHES, 1, BATCHES)]
        assert await scene.rows("SELECT count(*) FROM outbox") == [(0,)]

    play(database_url, shards, work)


def test_notes_are_forgotten_in_steps(database_url: str, shards: list[RedisServer]) -> None:
    """All of the one shard, none of another."""

    async def work(scene: Scene) -> None:
        await _note_batches(scene)
        async with scene.database.transaction() as connection:
            await notes.forget(connection, SHARD, LIMIT)
        assert await scene.rows(NOTES, SHARD) == [(0, None, None)]
        assert await scene.rows(NOTES, "shard-1") == [(1, 12, 12)]

    play(database_url, shards, work)


def test_notes_that_are_purged_raise_the_floor(database_url: str, shards: list[RedisServer]) -> None:
    """Below the floor nothing could tell what is missing, so a shard that fell below it is filled."""

    async def work(scene: Scene) -> None:
        for number in range(5):
            await scene.put("abc", f"https://a.example/{number}")
            (batch,) = (await scene.project()).numbered
        async with scene.database.transaction() as connection:
            await store.state_for_update(connection, batch.shard_id)
            assert await notes.purge(connection, batch.shard_id, 0, 3) == 3
            state = await store.state_for_update(connection, batch.shard_id)
        assert state.floor_seq == batch.number - 2
        assert await scene.rows("SELECT min(seq), max(seq) FROM projected") == [(batch.number - 1, batch.number)]

    play(database_url, shards, work)


def test_purge_takes_old_notes_in_steps_and_leaves_young_ones(database_url: str, shards: list[RedisServer]) -> None:
    """Each step says by a full count that there may be more; the last one ends where the young notes begin."""

    async def work(scene: Scene) -> None:
        await _note_batches(scene)
        await scene.rows("UPDATE projected SET projected_at = now() - interval '1 hour' WHERE seq <= 9")
        counts: list[int] = []
        while not counts or counts[-1] >= LIMIT:
            async with scene.database.transaction() as connection:
                counts.append(await notes.purge(connection, SHARD, 900, LIMIT))
        assert counts == [4, 4, 4, 4, 2]
        assert await scene.rows(NOTES, SHARD) == [(2 * BATCHES - 18, 10, BATCHES)]
        assert await scene.rows("SELECT floor_seq FROM shards WHERE id = $1", SHARD) == [(9,)]

    play(database_url, shards, work)


def test_purge_leaves_a_shard_that_is_being_repaired_alone(database_url: str, shards: list[RedisServer]) -> None:
    """Housekeeping does not wait for a keeper."""

    async def work(scene: Scene) -> None:
        async with scene.database.transaction() as keeper, scene.database.transaction() as housekeeper:
            await store.state_for_update(keeper, SHARD)
            assert await store.try_state_for_update(housekeeper, SHARD) is None
            assert await store.try_state_for_update(housekeeper, "shard-1") is not None

    play(database_url, shards, work)


def test_age_of_the_oldest_row_is_of_what_is_to_be_projected(database_url: str, shards: list[RedisServer]) -> None:
    """Ready or waiting for a shard, whichever is older; what is set aside does not count."""

    async def work(scene: Scene) -> None:
        async def oldest_h() -> int:
            async with scene.database.connection() as connection:
                return round((await store.backlog(connection, 10)).oldest_s / 3600)

        assert await oldest_h() == 0
        row = "INSERT INTO outbox (link_id, version, created_at, waiting_shard, retry_at) VALUES (1, 1, now() - "
        await scene.rows(row + "interval '9 hours', NULL, now())")
        assert await oldest_h() == 0
        await scene.rows(row + "interval '2 hours', NULL, NULL)")
        assert await oldest_h() == 2
        await scene.rows(row + "interval '5 hours', 'shard-1', NULL)")
        assert await oldest_h() == 5

    play(database_url, shards, work)

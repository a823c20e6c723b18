"""How old an answer may be by the numbers that its speaker and the primary have."""

from edge.progress import MARKS, Progress


def test_age_counts_from_the_last_instant_of_which_nothing_lacks() -> None:
    """Who has all numbers is as old as the last proof, who lacks one as old as the proof before it."""
    progress = Progress(60_000)
    for at_ms, sequence in ((1000, 5), (3000, 7), (5000, 7), (7000, 8)):
        progress.note("a", at_ms, sequence)
    assert [progress.age_ms(sequence, 8000) for sequence in (9, 8, 7, 6, 5, 4)] == [1000, 1000, 3000, 7000, 7000, None]


def test_marks_are_bounded_and_dense_proofs_keep_their_age() -> None:
    """Proofs that follow closely take each other's place; none makes an answer look younger than it is."""
    progress = Progress(6400)
    for at_ms in range(0, 100_000, 10):
        progress.note("a", at_ms, at_ms)
        for lag in (0, 500, 3000):
            age = progress.age_ms(at_ms - lag, at_ms)
            assert age is None or lag <= age <= lag + 2 * 6400 // MARKS
    assert progress.age_ms(99_990 - 7000, 99_990) is None


def test_another_process_and_a_number_that_fell_begin_anew() -> None:
    """What is known of one process says nothing of another one."""
    progress = Progress(60_000)
    progress.note("a", 1000, 50)
    progress.note("b", 2000, 10)
    assert (progress.run_id, progress.age_ms(10, 2000), progress.age_ms(9, 2000)) == ("b", 0, None)
    progress.note("b", 3000, 4)  # emptied
    assert (progress.age_ms(4, 3000), progress.age_ms(3, 3000)) == (0, None)
    progress.forget()
    assert (progress.run_id, progress.age_ms(100, 3000)) == ("", None)

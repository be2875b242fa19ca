"""Which weights sample which step: never too old, never out of order, each step asked for once."""

from hypothesis import given
from hypothesis import strategies as st

from prewrite.train.online.staleness import StalenessSchedule

lags = st.builds(
    lambda start, staleness, data: StalenessSchedule(start, min(staleness + 1, data), staleness),
    st.integers(0, 20),
    st.integers(0, 5),
    st.integers(1, 6),
)


@given(lags, st.integers(0, 60))
def test_weights_are_at_most_so_old(lag: StalenessSchedule, later: int) -> None:
    step = lag.start + later
    version = lag.version(step)
    assert 0 <= step - version <= lag.staleness
    assert (version - lag.start) % lag.every == 0
    if lag.staleness == 0:
        assert version == step


@given(lags, st.integers(0, 60))
def test_a_step_is_due_as_soon_as_its_weights_are_there(lag: StalenessSchedule, later: int) -> None:
    step = lag.start + later
    due = [s for s in range(step, step + 100) if lag.version(s) <= step]
    assert list(lag.due(step)) == due


@given(lags, st.integers(1, 40), st.lists(st.integers(0, 40), max_size=4))
def test_a_run_that_is_killed_asks_for_each_step_with_the_weights_it_would_have_had(
    lag: StalenessSchedule, steps: int, kills: list[int]
) -> None:
    """At a kill all that was asked for before is in the store, as `drain` has it."""
    asked = dict[int, int]()
    for begin, end in zip([0, *sorted(kills)], [*sorted(kills), steps], strict=True):
        for step in range(lag.start + begin, lag.start + max(begin, end)):
            for due in lag.due(step):
                asked.setdefault(due, step)
            assert asked[step] == lag.version(step)

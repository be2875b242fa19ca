"""The curriculum: phases follow each other as configured, whatever a run is killed at."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prewrite.base.errors import ConfigError
from prewrite.train.config.phases import Phase, Plateau, end_step
from prewrite.train.config.sections import TrainConfig
from prewrite.train.curriculum import Curriculum, PhaseStart, stands_still
from prewrite.train.schedule import differing, learning_rate


def config(phases: list[dict[str, Any]], samples: int = 4, **optimizer: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "data": [{"set": "data/set"}],
            "output": "data/run",
            "model": {"path": "models/any"},
            "batch": {"samples": samples},
            "optimizer": {"warmup_steps": 0} | optimizer,
            "curriculum": [
                {"name": f"phase-{number}", "objective": "nll"} | phase
                for number, phase in enumerate(phases)
            ],
        }
    )


@st.composite
def configs(draw: st.DrawFn) -> TrainConfig:
    """Up to four phases of 7 to 20 steps that end by steps, samples or a plateau."""
    samples, end, phases = draw(st.integers(1, 5)), 0, []
    for _ in range(draw(st.integers(1, 4))):
        end += draw(st.integers(7, 20))
        until: dict[str, Any] = {"step": end}
        if draw(st.booleans()):
            until = {"samples": end * samples - draw(st.integers(0, samples - 1))}
        if draw(st.booleans()):
            until["plateau"] = {"steps": draw(st.integers(1, 3)), "improvement": 0.05}
        rate = draw(st.sampled_from(["continue", "restart"]))
        phases.append({"until": until, "learning_rate": rate})
    schedule = draw(st.sampled_from(["cosine", "wsd", "constant"]))
    optimizer = {"schedule": schedule, "warmup_steps": draw(st.integers(0, 4))}
    optimizer["decay_steps"] = draw(st.integers(1, 3)) if schedule == "wsd" else 0
    return config(phases, samples, **optimizer)


def run(
    settings: TrainConfig, losses: list[float], kills: set[int], before: Curriculum | None = None
) -> tuple[list[tuple[str, float]], Curriculum]:
    """Phase and rate of every step of a run that is killed after the steps `kills`; it goes on
    where `before` ended.
    """
    curriculum = Curriculum(settings.curriculum)
    if before:
        curriculum.load_state_dict(json.loads(json.dumps(before.state_dict())))
    trace: list[tuple[str, float]] = []
    while not curriculum.over:
        step = curriculum.step
        trace.append((curriculum.current.name, learning_rate(settings, step, curriculum.starts)))
        curriculum.after_step(
            step + 1, (step + 1) * settings.batch.samples, losses[step % len(losses)]
        )
        if step + 1 in kills:
            state = json.loads(json.dumps(curriculum.state_dict(), allow_nan=False))
            curriculum = Curriculum(settings.curriculum)
            curriculum.load_state_dict(state)
    return trace, curriculum


losses = st.lists(st.sampled_from([4.0, 3.0, 2.9, 2.0, 0.0, math.nan]), min_size=1, max_size=40)


@settings(max_examples=150)
@given(configs(), losses, st.sets(st.integers(1, 80)))
def test_a_run_killed_anywhere_has_the_same_phases_and_rates(
    config: TrainConfig, losses: list[float], kills: set[int]
) -> None:
    trace, curriculum = run(config, losses, set())
    again, resumed = run(config, losses, kills)
    assert again == trace
    assert resumed.state_dict() == curriculum.state_dict()


@settings(max_examples=60)
@given(configs(), losses)
def test_a_run_killed_at_every_step_has_the_same_phases_and_rates(
    config: TrainConfig, losses: list[float]
) -> None:
    assert run(config, losses, set(range(100)))[0] == run(config, losses, set())[0]


@settings(max_examples=100)
@given(configs(), losses)
def test_phases_follow_in_order_and_end_in_time(config: TrainConfig, losses: list[float]) -> None:
    trace, curriculum = run(config, losses, set())
    begun = [start.step for start in curriculum.starts]
    for number, (phase, begin) in enumerate(zip(config.curriculum, begun, strict=True)):
        end = [*begun, len(trace)][number + 1]
        planned = end_step(phase, config.batch.samples)
        assert {name for name, _ in trace[begin:end]} == {phase.name}
        assert end == planned or (phase.until.plateau and end < planned)
        assert curriculum.starts[number].sample == begin * config.batch.samples


def test_the_phase_that_begins_is_told_once() -> None:
    settings = config([{"until": {"step": 2}}, {"until": {"samples": 13}}])
    curriculum = Curriculum(settings.curriculum)
    told = [curriculum.after_step(step, 4 * step, 1.0) for step in range(1, 5)]
    assert [phase and phase.name for phase in told] == [None, "phase-1", None, None]
    assert curriculum.starts == [PhaseStart(0, 0), PhaseStart(2, 8)]
    assert curriculum.over


def test_a_probe_that_is_won_ends_a_phase() -> None:
    """Only where the phase asks for it, only when the rate is reached, and also after a kill."""
    phases = [
        Phase.model_validate(
            {"name": "a", "objective": "nll", "until": {"step": 9, "win_rate": 0.5}}
        ),
        Phase.model_validate({"name": "b", "objective": "nll", "until": {"step": 12}}),
    ]
    curriculum = Curriculum(phases)
    assert curriculum.after_step(1, 4, 1.0) is None
    assert curriculum.after_step(2, 8, 1.0, win_rate=0.49) is None
    assert curriculum.after_step(3, 12, 1.0, win_rate=0.5) is phases[1]
    assert curriculum.starts == [PhaseStart(0, 0), PhaseStart(3, 12)]
    again = Curriculum(phases)
    again.load_state_dict(json.loads(json.dumps(curriculum.state_dict())))
    assert again.after_step(4, 16, 1.0, win_rate=1.0) is None and again.current is phases[1]


def test_a_plateau_compares_two_windows() -> None:
    plateau = Plateau(steps=2, improvement=0.1)
    assert not stands_still([9.0, 9.0, 9.0], plateau)
    assert stands_still([10.0, 10.0, 9.0, 9.5], plateau)
    assert not stands_still([10.0, 10.0, 9.0, 8.5], plateau)
    assert stands_still([1.0, 1.0, 2.0, 2.0], plateau)
    assert not stands_still([-1.0, -1.0, -1.5, -1.5], plateau)
    assert stands_still([-1.0, -1.0, -1.01, -1.01], plateau)


def test_a_plateau_looks_at_its_own_phase_only() -> None:
    until = {"step": 9, "plateau": {"steps": 2}}
    settings = config([{"until": until}, {"until": until | {"step": 18}}])
    assert run(settings, [1.0], set())[1].starts == [PhaseStart(0, 0), PhaseStart(4, 16)]
    trace, _ = run(settings, [1.0], set())
    assert len(trace) == 8


def test_more_phases_or_steps_continue_a_finished_run() -> None:
    short = config([{"until": {"step": 3}}])
    _, ended = run(short, [1.0], set())
    for longer in (
        config([{"until": {"step": 5}}]),
        config([{"until": {"step": 3}}, {"until": {"step": 5}}]),
    ):
        curriculum = Curriculum(longer.curriculum)
        curriculum.load_state_dict(ended.state_dict())
        assert ended.over and not curriculum.over


@settings(max_examples=150)
@given(configs(), losses, st.integers(1, 4))
def test_phases_added_behind_a_finished_run_go_on_as_if_they_had_been_there(
    config: TrainConfig, losses: list[float], count: int
) -> None:
    short = config.model_copy(update={"curriculum": config.curriculum[:count]})
    begun, ended = run(short, losses, set())
    assert ended.over
    whole, _ = run(config, losses, set())
    rest, grown = run(config, losses, set(), ended)
    assert [name for name, _ in begun + rest] == [name for name, _ in whole]
    assert rest == whole[len(begun) :]
    other = differing(config, short.curriculum, grown.starts, len(begun))
    rates = [(made + 1, *pair) for made, pair in enumerate(zip(begun, whole, strict=False))]
    others = [(made, a[1], b[1]) for made, a, b in rates if a != b]
    assert other == (others[-1] if others else None)
    follows = config.curriculum[count:]
    if (
        config.optimizer.schedule == "constant"
        or not follows
        or follows[0].learning_rate == "restart"
    ):
        assert other is None and begun + rest == whole


def test_a_phase_that_is_made_shorter_than_the_run_has_gone_is_over() -> None:
    until = {"step": 9, "plateau": {"steps": 2, "improvement": 10.0}}
    curriculum = Curriculum(config([{"until": {"step": 9}}]).curriculum)
    for step in range(1, 8):
        curriculum.after_step(step, 4 * step, 1.0)
    state = json.loads(json.dumps(curriculum.state_dict()))
    cases: list[tuple[list[dict[str, Any]], int, list[tuple[int, int]]]] = [
        ([{"until": {"step": 5}}, {"until": {"step": 8}}], 1, [(0, 0), (7, 28)]),
        ([{"until": {"samples": 27}}, {"until": {"samples": 32}}], 1, [(0, 0), (7, 28)]),
        ([{"until": {"step": 7}}, {"until": {"step": 8}}], 1, [(0, 0), (7, 28)]),
        ([{"until": {"step": 3}}, {"until": {"step": 5}}, {"until": {"step": 8}}], 2,
         [(0, 0), (7, 28), (7, 28)]),
        ([{"until": {"step": 8}}, {"until": {"step": 12}}], 0, [(0, 0)]),
        ([{"until": until}, {"until": {"step": 12}}], 0, [(0, 0)]),  # no losses were kept
    ]  # fmt: skip
    for phases, current, starts in cases:
        again = Curriculum(config(phases).curriculum)
        again.load_state_dict(state)
        assert again.current is again.phases[current] and not again.over
        assert again.starts == starts
    last = Curriculum(config([{"until": {"step": 5}}]).curriculum)
    last.load_state_dict(state)
    assert last.over


@pytest.mark.parametrize(("threshold", "ended"), [(0.5, True), (0.6, True), (0.61, False)])
def test_a_probe_that_ended_a_run_ends_its_phase_when_another_follows(
    threshold: float, ended: bool
) -> None:
    """By the threshold that the configuration has now."""

    def phases(win_rate: float) -> list[Phase]:
        until = {"step": 9, "win_rate": win_rate}
        return [
            Phase.model_validate({"name": "a", "objective": "nll", "until": until}),
            Phase.model_validate({"name": "b", "objective": "nll", "until": {"step": 12}}),
        ]

    short = Curriculum(phases(0.5)[:1])
    short.after_step(3, 12, 1.0, win_rate=0.6)
    assert short.over
    longer = Curriculum(phases(threshold))
    longer.load_state_dict(json.loads(json.dumps(short.state_dict())))
    assert longer.current is longer.phases[ended]


def test_a_plateau_that_is_made_shorter_compares_its_own_windows() -> None:
    long, short = (
        config([{"until": {"step": 40, "plateau": {"steps": steps, "improvement": 0.1}}}])
        for steps in (4, 2)
    )
    curriculum = Curriculum(long.curriculum)
    for step, loss in enumerate([9.0, 9.0, 9.0, 9.0, 5.0, 5.0, 4.0, 4.0], 1):
        curriculum.after_step(step, 4 * step, loss)
    again = Curriculum(short.curriculum)
    again.load_state_dict(curriculum.state_dict())
    assert not again.over  # 5 and 5, then 4 and 4


@pytest.mark.parametrize("names", [["b", "a"], ["a"], ["a", "c"]])
def test_other_phases_than_those_of_the_run_are_refused(names: list[str]) -> None:
    def phases(names: list[str]) -> list[Phase]:
        made = [{"name": name, "until": {"step": 2 + 2 * i}} for i, name in enumerate(names)]
        return config(made).curriculum

    curriculum = Curriculum(phases(["a", "b"]))
    curriculum.after_step(2, 8, 1.0)
    with pytest.raises(ConfigError, match=r"^train\.curriculum: found .*went through a, b; "):
        Curriculum(phases(names)).load_state_dict(curriculum.state_dict())


def test_a_phase_ends_at_a_reward() -> None:
    """Also after a kill between the probe and the next step; an older state knows no reward."""
    phases = [
        Phase.model_validate(
            {"name": "a", "objective": "nll", "until": {"step": 9, "reward": 0.9}}
        ),
        Phase.model_validate({"name": "b", "objective": "nll", "until": {"step": 12}}),
    ]
    curriculum = Curriculum(phases)
    assert curriculum.after_step(1, 4, 1.0, reward=0.89) is None
    older = curriculum.state_dict()
    del older["reward"]
    again = Curriculum(phases)
    again.load_state_dict(older)
    assert again.current is phases[0]
    assert again.after_step(2, 8, 1.0, reward=0.9) is phases[1]

"""Runs of the task `think` on the toy of its proof, as a user starts them: real Megatron and vLLM.

One warm start, which knows the form of a thought. From there one run that nothing stops; the same
killed, and with kept pools and no engine; one by likelihood; and the proof itself, for one step.
"""

import json
import signal
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.prove import digits, thinking
from benchmarks.prove.counting import NUMBERS
from benchmarks.prove.runs import engine, think_section, think_warm_section
from prewrite.commands import main
from prewrite.judge.provenance import read
from prewrite.prompts.thoughts import strip
from tests.train.small import Command, curve, metrics, newest, weights

WARM, STEPS, HELD = 120, 4, 16


def test_the_toy_is_what_it_says() -> None:
    """Thoughts are the only thing added; a useful one ends with the answer, and no held-out text is
    trained on.
    """
    rows = digits.rows("train", 1, 64)
    assert all(strip(str(row["rewrite"])) == row["original"] for row in rows)
    assert {row["source"] for row in rows} == {"useful", "filler"}
    for row in rows:
        before, answer = str(row["original"]).split(digits.MAKES)
        total = sum(NUMBERS.index(word) for word in before.split()) % 10
        assert answer == f" {NUMBERS[total]}"
    shuffled = digits.shuffled(rows, 2)
    pairs = zip(rows, shuffled, strict=True)
    assert sum(one["original"] != other["original"] for one, other in pairs) > 32
    assert digits.equal("", " two", " two and") == 1 and digits.equal("", " two", "") == 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thinking")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"ROWS": 512, "HELD": HELD}.items():
            patch.setattr(thinking, name, value)
        thinking.prepare(folder)
    command = Command(think_warm_section(folder, "warm-0", 0, WARM))
    assert command.end(400) == 0, command.text
    return folder


def section(folder: Path, name: str, steps: int = STEPS, **rollouts: Any) -> dict[str, Any]:
    found = think_section(folder, name, 0, "warm-0/model", "set", steps)
    found["checkpoint"] = {"every": 1, "asynchronous": False}
    probe = {"set": str(folder / "held"), "cut_points": HELD, "every": 2}
    found["rollouts"] |= {"dump_every": 1, "probe": probe} | rollouts
    return found


def start(train: dict[str, Any], folder: Path) -> Command:
    policy = engine(folder / "warm-0/model")
    return Command(train, engines={"policy": policy, "frozen": policy})


@pytest.fixture(scope="module")
def thinker(place: Path) -> Path:
    command = start(section(place, "thinker"), place)
    assert command.end(300) == 0, command.text
    return command.output


slow = pytest.mark.slow
pytestmark = pytest.mark.timeout(900)


@slow
def test_what_a_run_says(thinker: Path) -> None:
    start, *steps = metrics(thinker)
    assert (start["step"], len(steps)) == (0, STEPS)
    assert 0 <= start["probe/reward"] <= 1 and start["probe/thought_tokens"] > 3
    for step in steps:
        assert step["rewards/mixed"] > 0 and 0 < step["rewards/of_thought"] < 1
        assert 3 < step["rewards/thought_tokens"] < 16 and step["form/no_close"] < 0.5
    # A rollout that is cut after its answer is learnt as it was sampled.
    assert steps[0]["policy/gap"] < 1e-3
    (first, _) = (step for step in steps if "probe/reward" in step)
    assert 0 <= first["probe/reward"] <= 1 and first["probe/thought_tokens"] > 3
    left = read(str(thinker / "model"))
    assert left and left.task == "think" and left.parents
    assert "### original" in next((thinker / "rollouts/probe").glob("*.md")).read_text()


@slow
def test_a_run_that_is_killed_goes_on_to_the_last_bit(thinker: Path, place: Path) -> None:
    command = start(section(place, "killed"), place)
    command.until(lambda: newest(command.output) >= 2)
    command.signal(signal.SIGKILL)
    command.end()
    command = start(section(place, "killed"), place)
    assert command.end(300) == 0, command.text
    assert curve(command.output) == curve(thinker)
    expected = weights(thinker)
    for name, tensor in weights(command.output).items():
        assert torch.equal(tensor, expected[name]), name


@slow
def test_kept_thoughts_teach_again_without_an_engine(thinker: Path, place: Path) -> None:
    pools = str(thinker / "rollouts/pools")
    train = section(place, "again", replay=pools, dump_every=0, probe=None)
    command = start(train, place)
    assert command.end(100) == 0, command.text
    assert curve(command.output) == curve(thinker)
    assert not (command.output / "rollouts/worker-0.log").exists()


@slow
def test_a_run_by_likelihood_asks_no_judge(place: Path) -> None:
    train = section(place, "gains", steps=2, probe=None)
    del train["rollouts"]["judge"]
    train["task"] |= {"reward": "gain", "reference": "frozen"}
    command = start(train, place)
    assert command.end(300) == 0, command.text
    for step in metrics(command.output):
        assert step["rewards/mixed"] > 0 and isfinite(step["rewards/of_thought"])
        assert isfinite(step["rewards/blank"])
        assert step["rollouts/verdicts"] > 0 == step["rollouts/verdicts_failed"]


@slow
def test_whether_thoughts_are_used(thinker: Path, place: Path) -> None:
    """`prewrite evaluate thoughts` on the recipe of the run."""
    recipe = str(min(place.glob("thinker-*.yaml")))
    assert main(["evaluate", "thoughts", "--config", recipe, "--dry-run"]) == 0
    assert main(["evaluate", "thoughts", "--config", recipe]) == 0
    told = json.loads((thinker / "thoughts.json").read_text())
    assert [*told] == [str(place / "warm-0/model"), str(thinker / "model")]
    for use in told.values():
        assert use["places"] == HELD and use["malformed"] < HELD
        assert use["unsampled"] == use["unwritten"] == use["unlikely"] == use["unread"] == 0
        for measure in ("reward", "likelihood"):
            assert [*use["means"][measure]] == ["own", "blank", "generic", "swapped"]
        assert use["means"]["likelihood"]["blank"]["value"] < 0
    page = (thinker / "thoughts.md").read_text()
    assert (
        page.count("| own |") == 2 and f"{HELD} places" in page and "Texts left out: none" in page
    )


@slow
@pytest.mark.long
def test_the_proof_runs_to_its_figures(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the warm start that is there; what is learnt in one step says nothing."""
    for name, value in {"HELD": HELD, "CHANCE": 1.0, "RUNS": ("trained",)}.items():
        monkeypatch.setattr(thinking, name, value)
    (place / "warm-0.seconds").write_text("1.0")
    found = thinking.prove(place, [0], steps=1, warm=WARM)
    (seed,) = found["seeds"]
    assert set(seed) == {"seed", "warm", "trained"}
    for kind in ("warm", "trained"):
        assert [*seed[kind]] == ["own", "blank", "generic", "swapped"]
        assert all(isfinite(one["mean"]) for one in seed[kind].values())

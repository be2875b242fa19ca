"""Rounds go on from wherever they were killed, and end in the same ledger."""

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import yaml

from prewrite.base.errors import InputError
from prewrite.base.files import Folder
from prewrite.commands import main
from prewrite.evaluation.improve import run as running
from prewrite.evaluation.improve.config import ImproveConfig
from prewrite.evaluation.improve.ledger import NAME, Closed, Compared, Last, Ledger
from prewrite.evaluation.improve.run import _begun
from tests.evaluation.improve.rounds import found, recipe, rounds, sections

BETTER = {
    "round-1/judge": {"worth": 0.6},
    "round-1/policy": {"worth": 0.9},
    "round-2/rewriter": {"worth": 0.7},
    "round-2/policy": {"worth": 0.9, "refusals": 0.5},
}
"""The judge of round 1 is better; so is the rewriter of round 2, but the policy that is made with
it refuses.
"""
WORDS = [
    *("promoted", "not eligible", "not eligible"),
    *("refused", "promoted", "rolled back"),
    *("refused", "refused", "refused"),
]


class Killed(BaseException):
    pass


def worth(name: str) -> dict[str, float]:
    return BETTER.get(name, {"worth": 0.3})


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImproveConfig:
    monkeypatch.setattr(running, "read_evidence", found)
    monkeypatch.setattr(running, "refuse_commands", lambda *_: None)
    return recipe(tmp_path).improve


def finish(config: ImproveConfig, before: Callable[[], None] = lambda: None) -> Ledger:
    ledger = Ledger(Folder(config.output))
    begin = _begun(config, {}, ledger.entries)
    if not ledger.entries:
        ledger.add(begin)
    run, ledger, _ = rounds(config, worth, before)
    run.finish()
    return ledger


def test_three_rounds(config: ImproveConfig) -> None:
    ledger = finish(config)
    compared = [one for one in ledger.entries if isinstance(one, Compared)]
    assert [one.decision for one in compared] == WORDS
    assert compared[1].made_with["judge"] == compared[0].candidate
    assert compared[6].made_with["rewriter"] == compared[0].made_with["rewriter"]  # taken back
    last = [one for one in ledger.entries if isinstance(one, Last)]
    assert [(one.part, one.figures.outcome) for one in last] == [("judge", "passed")]
    assert isinstance(ledger.entries[-1], Closed)
    text = Path(config.output, "index.html").read_text()
    assert "2 rounds without a promotion" in text and "The second anchor" in text


def test_an_incumbent_is_measured_once(config: ImproveConfig) -> None:
    ledger = Ledger(Folder(config.output))
    ledger.add(_begun(config, {}, []))
    run, _, steps = rounds(config, worth)
    run.finish()
    assert len(steps.ran) == len({*steps.ran})
    assert sum(name.startswith("round-") for name in steps.ran) == 9


def test_it_goes_on_from_any_kill_to_the_same_ledger(
    config: ImproveConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each command, and before and after each line of the ledger is there."""
    finish(config)
    whole = Path(config.output, NAME).read_text()
    shutil.rmtree(config.output)
    tick, real = count(), Folder.write

    def killed(after: int) -> None:
        nonlocal tick
        tick = count()

        def step() -> None:
            if next(tick) >= after:
                raise Killed

        def write(self: Folder, name: str, data: bytes) -> None:
            if name == NAME:
                step()
            real(self, name, data)
            if name == NAME:
                step()

        monkeypatch.setattr(Folder, "write", write)
        with pytest.raises(Killed):
            finish(config, step)
        monkeypatch.setattr(Folder, "write", real)

    kills = 0
    while True:
        try:
            killed(2)
        except pytest.fail.Exception:  # it came to its end
            break
        kills += 1
    assert kills > 15
    assert Path(config.output, NAME).read_text() == whole


def test_a_swapped_anchor_is_refused_by_name(config: ImproveConfig, tmp_path: Path) -> None:
    def swap() -> None:
        if Path(config.output, "round-1/judge").exists():
            Path(tmp_path, "one-judge/config.json").write_text("another judge")

    with pytest.raises(
        InputError, match=r"improve.anchor.judge: found .*one-judge with the digest"
    ):
        finish(config, swap)
    with pytest.raises(InputError, match="accepted: .*, the one that the ledger began with"):
        finish(config)


def test_another_plan_is_refused(config: ImproveConfig, tmp_path: Path) -> None:
    finish(config)
    changed = recipe(tmp_path, rounds=4, comparisons=12).improve
    with pytest.raises(Exception, match="improve.comparisons: 9 → 12\n  improve.rounds: 3 → 4"):
        finish(changed)


def test_a_comparison_more_than_planned_is_refused(config: ImproveConfig) -> None:
    few = config.model_copy(update={"comparisons": 4})
    with pytest.raises(InputError, match="improve.comparisons: found 4, all of them made"):
        finish(few)


def test_a_second_run_does_nothing_and_opens_nothing(config: ImproveConfig) -> None:
    finish(config)
    before = Path(config.output, NAME).read_bytes()
    run, _, steps = rounds(config, worth)
    run.finish()
    assert not steps.ran and Path(config.output, NAME).read_bytes() == before


def test_a_dry_run_prints_the_commands_of_the_next_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "improve.yaml"
    file.write_text(yaml.safe_dump({"output": "x", "improve": sections(tmp_path)}))
    assert main(["improve", "--config", str(file), "--dry-run"]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    lines = [line for line in told.splitlines() if line.startswith("prewrite ")]
    assert len(lines) == 9
    assert lines[0].startswith(f"prewrite train --config {tmp_path}/train.yaml train.output=")
    assert "share(doc_id) >= 0 and share(doc_id) < 0.333333" in lines[0]
    assert "0 of 9 comparisons made; documents an anchor needs: 14" in told
    assert not (tmp_path / "rounds").exists()

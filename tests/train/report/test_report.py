"""The report of a run: its numbers are those of `metrics.jsonl`, and the page shows all of them."""

import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prewrite.base.errors import InputError
from prewrite.train.report.command import make
from prewrite.train.report.metrics import POINTS, Column, curve, groups, read_run
from prewrite.train.report.page import page
from prewrite.train.report.pools import LONGEST
from tests.commands import train as main

HOSTILE = "</pre><script>alert(1)</script><img src=http://a.example/x onerror=alert(1)> $x$"


def line(step: int, phase: str, **values: Any) -> str:
    known = {"loss": 4 / step, "samples": 8 * step, "seconds": 1.5, "tokens_per_second": 100.0}
    return json.dumps({"step": step, "phase": phase, **known, **values}) + "\n"


def write(folder: Path, *lines: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    return str(folder)


@pytest.fixture
def run(tmp_path: Path) -> str:
    """Twelve steps of two phases, the second with rollouts."""
    first = [line(step, "imitate", **{"loss/nll": 2.0}) for step in range(1, 5)]
    shares = {"dpo/chosen_rollout": 0.75, "dpo/chance_rollout": 0.5, "dpo/margin": 0.1}
    times = {"time/generate": 1.0, "time/step": 0.5, "new/thing": 3.0}
    second = [line(step, "prefer", **shares, **times) for step in range(5, 13)]
    return write(tmp_path / "run", *first, *second)


def test_columns_are_the_metrics(run: str) -> None:
    found = read_run(run)
    assert found.step.tolist() == list(range(1, 13))
    assert found.phases == [("imitate", 1, 4), ("prefer", 5, 12)]
    assert found.columns["loss"].tolist() == [4 / step for step in range(1, 13)]
    assert np.isnan(found.columns["loss/nll"][4:]).all()
    assert found.mean("loss/nll") == 2 and found.mean("loss/nll", found.phases[1]) is None
    assert found.mean("loss", found.phases[0]) == pytest.approx((4 + 2 + 4 / 3 + 1) / 4)
    assert found.last("samples") == 96
    assert found.hours[-1] == pytest.approx(12 * 1.5 / 3600)


def test_what_was_probed_before_the_first_step_is_a_point_at_0(tmp_path: Path) -> None:
    begun = json.dumps({"step": 0, "phase": "a", "probe/new/reward": 0.25}) + "\n"
    last = line(2, "a", **{"probe/new/reward": 0.75})
    url = write(tmp_path / "run", begun, line(1, "a"), last)
    found = read_run(url)
    assert found.phases == [("a", 1, 2)] and found.mean("loss") == 3
    assert found.columns["probe/new/reward"][0] == 0.25 and found.hours[0] == 0
    assert groups([found])["probe"] == ["probe/new/reward"] and "probe/new/reward" in make([url])


def test_groups_are_those_that_the_metrics_name(run: str) -> None:
    found = groups([read_run(run)])
    assert found["loss"] == ["loss", "loss/nll"]
    assert found["new"] == ["new/thing"]
    assert list(found)[-1] == "speed"
    drawn = {metric for metrics in found.values() for metric in metrics}
    assert drawn | {"samples"} == set(read_run(run).columns)


def test_a_value_that_was_not_finite_is_told(tmp_path: Path) -> None:
    url = write(tmp_path / "run", line(1, "a"), line(2, "a", loss=None), line(3, "a"))
    assert read_run(url).nulls == {"loss": 1}
    assert "loss in 1 of 3 steps" in make([url])


def test_a_torn_last_line_of_a_run_that_goes_on_is_left_out(tmp_path: Path) -> None:
    assert len(read_run(write(tmp_path, line(1, "a"), line(2, "a")[:-9])).step) == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("torn\n", "no JSON"),
        ("\0" * 70 + "\n", "no JSON"),
        ("[" * 100_000 + "\n", "no JSON"),
        ("[1]\n", "a list"),
        ('{"loss": 1}\n', "no step or phase"),
        (line(2, "a", loss="high"), "a str in 'loss'"),
        (line(2, "a", loss=10**40), "a number of 41 digits in 'loss'"),
        (line(9, "a"), "step 9 out of order"),
        (line(1, "a"), "step 1 out of order"),
    ],
)
def test_a_damaged_line_is_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, found: str
) -> None:
    url = write(tmp_path / "run", line(1, "a"), text, line(3, "a"), line(4, "a"))
    assert read_run(url).step.tolist() == [1, 3, 4]
    said = f"metrics.jsonl: 1 damaged line left out: 2 (line 2: found {found})"
    assert html.unescape(make([url])).count(said) == 1
    assert f"{url}/{said}" in capsys.readouterr().err


def test_a_run_without_a_whole_line_is_refused(tmp_path: Path) -> None:
    url = write(tmp_path, *(["torn\n"] * 12))
    with pytest.raises(InputError, match=r"12 damaged lines left out: 1, .*, 10 and 2 more"):
        read_run(url)


def test_a_folder_without_metrics_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 1
    assert "no training run here" in capsys.readouterr().err
    with pytest.raises(InputError, match="wait for the first"):
        read_run(write(tmp_path, ""))


def test_a_long_curve_keeps_its_mean_and_its_extremes() -> None:
    values: Column = np.sin(np.linspace(0, 9999, 10_000))
    values[1234], values[5] = 50.0, np.nan
    found = curve(np.linspace(0, 9999, 10_000), values)
    assert len(found.x) == POINTS
    assert found.high.max() == 50 and found.low.min() == np.nanmin(values)
    assert found.mean.mean() == pytest.approx(np.nanmean(values), abs=1e-3)


def test_a_short_curve_is_the_values() -> None:
    found = curve(np.array([1.0, 2, 3]), np.array([5.0, np.nan, 7]))
    assert found.x.tolist() == [1, 3]
    assert found.low.tolist() == found.mean.tolist() == found.high.tolist() == [5, 7]


def test_the_page_shows_every_metric(run: str) -> None:
    shown = make([run])
    assert "dpo/chosen_rollout, dashed: by chance" in shown
    assert "<figcaption>dpo/chance_rollout" not in shown
    for caption in ("loss", "loss/nll", "dpo/margin", "new/thing", "seconds"):
        assert f"<figcaption>{caption}</figcaption>" in shown
    assert "Where the time goes" in shown and "time of a step by time/generate, time/step" in shown
    assert "Rollouts over time" not in shown
    assert "None: the run has not ended" in shown
    assert "<td>1 to 4</td>" in shown and "<td>5 to 12</td>" in shown


def test_runs_are_laid_over_each_other(run: str, tmp_path: Path) -> None:
    other = write(tmp_path / "other", *(line(step, "all") for step in range(1, 30)))
    shown = page([read_run(run), read_run(other)])
    assert shown.count(f"<td>{other}</td>") == 2
    assert "var(--c0)" in shown and "var(--c1)" in shown
    assert "<figcaption>loss/nll</figcaption>" in shown


def keep(run: str, step: int, rank: int = 0, text: str = "") -> None:
    folder = Path(run, "rollouts/pools")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"step-{step:08}-rank-{rank:05}.md").write_text(text or f"# of {step}, {rank}")
    (folder / f"step-{step:08}-rank-{rank:05}.parquet").touch()


def test_pools_are_shown_from_first_to_last(run: str) -> None:
    for step in range(10, 120, 10):
        for rank in (0, 1):
            keep(run, step, rank)
    found = read_run(run).pools
    assert [step for step, _ in found] == [10, 30, 50, 70, 90, 110]
    assert found[1] == (30, "# of 30, 0")
    assert "pools of step 110" in make([run])


def test_pools_are_cut_and_text(run: str) -> None:
    keep(run, 1, text=HOSTILE + "x" * LONGEST)
    shown = make([run])
    assert "… (cut here)" in shown and "<script" not in shown


def test_names_and_continuations_are_text(tmp_path: Path) -> None:
    url = write(tmp_path / "<b>", line(1, HOSTILE, **{HOSTILE: 1.0, f"{HOSTILE}/x": 2.0}))
    (tmp_path / "<b>/continuations.md").write_text(HOSTILE)
    shown = make([url])
    assert "<script" not in shown and "<img" not in shown and "<b>" not in shown
    assert shown.count("&lt;script&gt;alert(1)") > 3
    assert "default-src 'none'; style-src 'unsafe-inline'\"" in shown


def test_the_command_writes_beside_the_run(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", run]) == 0
    assert capsys.readouterr().out == f"{run}/report.html\n"
    assert Path(run, "report.html").read_text(encoding="utf-8").endswith("</html>\n")
    assert main(["report", run, run]) == 2

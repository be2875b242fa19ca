"""Curves: what they do to values, whom they belong to, and that nobody is asked again for them."""

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from prewrite.base.errors import ConfigError
from prewrite.base.fingerprint import fingerprint
from prewrite.engine.config import EndpointConfig
from prewrite.judge.calibration import CalibrationCurve, fitted_to, load_curves
from prewrite.judge.config import JudgeConfig, JudgeSections
from prewrite.judge.criteria import load_criterion
from prewrite.judge.judge import Judge, load_judges
from prewrite.judge.pool import Pool, Question
from prewrite.judge.provenance import JudgeIdentity
from prewrite.judge.readout import Verdict
from prewrite.judge.retry import AgainJudge, ByVotes, Judged, Known
from prewrite.judge.scorer import RowScorer
from prewrite.shards.reader import ShardSet
from prewrite.shards.verify import verify
from tests.commands import judge
from tests.engine.fault_server import FaultServer
from tests.judge.test_again import asked, config, server  # noqa: F401  (fixtures)
from tests.scripted import Scripted, said

SAFETY = load_criterion("safety")


def logistic(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))


def curve(scale: float = 2.0, offset: float = 0.0, of: str = "x") -> CalibrationCurve:
    return CalibrationCurve(scale=scale, offset=offset, of=of)


def curves(path: Path, engine: EndpointConfig, **changed: Any) -> str:
    """A file with a curve of `main` on safety."""
    found = {"scale": 2.0, "offset": -1.0, "of": fitted_to(SAFETY, engine)} | changed
    path.write_text(yaml.safe_dump({"safety": {"main": found}}))
    return str(path)


def test_a_curve_is_platts() -> None:
    assert curve(1.0)(0.3) == pytest.approx(0.3)
    assert curve(2.0, -1.0)(logistic(1.5)) == pytest.approx(logistic(2.0))
    values = [0.0, 1e-9, 0.2, 0.5, 0.9, 1.0]
    turned = [curve(0.4, 3.0)(value) for value in values]
    assert turned == sorted(turned) and all(0 < value < 1 for value in turned)
    assert curve(1e6)(1.0) == 1 and curve(1e6)(0.0) == 0


def test_a_verdict_keeps_what_was_said() -> None:
    said = Verdict("A", 0.8, 0.9, "ok")
    turned = said.through(curve())
    assert turned.value == pytest.approx(curve()(0.8)) and turned.as_said == said
    assert said.through(None) == said == said.as_said
    unread = Verdict("", None, 0.0, "outside")
    assert unread.through(curve()) == unread


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            "safety: {main: {scale: 0, offset: 1, of: a}}",
            "safety.main.scale: found 0; accepted: gr",
        ),
        ("safety: {main: {scale: 1, of: a}}", "safety.main.offset: this key is required"),
        ("safety: {main: {scale: 1, offset: b, of: a}}", "safety.main.offset: found 'b'; accepted"),
        ("safety: {main: {scales: 1}}", "safety.main: unknown key 'scales'; did you mean 'scale'"),
        ("- a", r"the file: found \['a'\]; accepted: a mapping"),
        ("a: [", "not valid YAML: "),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "curves.yaml").write_text(content)
    with pytest.raises(ConfigError, match=f"curves.yaml: {sentence}"):
        load_curves(str(tmp_path / "curves.yaml"))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"calibration": "none.yaml"},
            "judge.calibration: found 'none.yaml'; accepted: a file that",
        ),
        ({"readout": "reasoning"}, "judge.readout: found 'reasoning'; accepted with a calibration"),
        (
            {"criteria": ["quality"]},
            "which has no curve of main on quality; accepted: one that has",
        ),
        ({"engine": "other"}, "which has no curve of other on safety"),
    ],
)
def test_a_calibration_that_does_not_fit(
    tmp_path: Path, changed: dict[str, Any], sentence: str
) -> None:
    engine = EndpointConfig(kind="endpoint", urls=["http://localhost:1/v1"], model="m")
    engines = dict.fromkeys(("main", "other"), engine.model_dump(mode="json"))
    path = curves(tmp_path / "curves.yaml", engine)
    section = {"engine": "main", "criteria": ["safety"], "calibration": path} | changed
    with pytest.raises((ValueError, ConfigError), match=sentence) as caught:
        JudgeSections.model_validate({"output": "out", "engines": engines, "judge": section})
    assert "Traceback" not in str(caught.value)


def test_a_curve_of_another_judge_is_refused(tmp_path: Path) -> None:
    engine = EndpointConfig(kind="endpoint", urls=["http://localhost:1/v1"], model="m")
    path = curves(tmp_path / "curves.yaml", engine)
    settings = JudgeConfig(engine="main", criteria=["safety"], calibration=path)
    other = engine.model_copy(update={"model": "another"})
    with pytest.raises(ConfigError, match=r"curves.yaml: safety.main: found a curve of another"):
        load_judges(settings, {"main": other}, [SAFETY])


def test_it_is_part_of_who_judged(tmp_path: Path) -> None:
    engine = EndpointConfig(kind="endpoint", urls=["http://localhost:1/v1"], model="m")
    path = curves(tmp_path / "curves.yaml", engine)
    bare = JudgeConfig(engine="main", criteria=["safety", "quality"])
    assert "calibration" not in bare.model_dump(mode="json")
    with_curve = bare.model_copy(update={"calibration": path})
    safety, quality = JudgeIdentity.of(with_curve, {"main": engine}).criteria
    found = {"main": load_curves(path)["safety"]["main"].model_dump()}
    assert safety["calibration"] == fingerprint(found) and "calibration" not in quality


def test_calibrated_anew_nobody_is_asked_again(
    config: Path,  # noqa: F811
    server: FaultServer,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The score columns follow the curve, the raw verdicts stay what they were."""
    engine = EndpointConfig(kind="endpoint", urls=[server.url], model="echo", concurrency=4)
    path = curves(tmp_path / "curves.yaml", engine, offset=-3.0)
    again = ["--config", str(config), f"judge.input={tmp_path}/set", f"output={tmp_path}/again"]
    again.append(f"judge.calibration={path}")
    assert judge([*again, "--dry-run"]) == 0
    assert "(as judged before: quality) (calibrated anew: safety)" in capsys.readouterr().out
    assert judge(again) == 0
    assert not asked(server)
    before, after = ShardSet(f"{tmp_path}/set"), ShardSet(f"{tmp_path}/again")
    for old, new in zip(before.rows(), after.rows(), strict=True):
        for text in ("original", "rewrite"):
            raw, found = old[f"{text}_safety"], new[f"{text}_safety"]
            assert raw is None or found == pytest.approx(curve(2.0, -3.0)(raw), abs=1e-6) != raw
            assert old[f"{text}_quality"] == new[f"{text}_quality"]
    assert verdicts(before) == verdicts(after)
    assert verify(after.folder.url)["problems"] == []
    assert judge(again) == 0
    assert "nothing to do" in capsys.readouterr().out and not asked(server)
    assert judge(["--retry-failed", *again]) == 0


def verdicts(shards: ShardSet) -> list[dict[str, Any]]:
    batches = (batch for part in shards.verdicts for batch in shards.batches(part))
    rows = [row for batch in batches for row in batch.to_pylist()]
    return sorted(rows, key=lambda row: str({**row, "answer": ""}))


def test_asked_again_a_verdict_is_calibrated_and_kept_as_said() -> None:
    config = JudgeConfig(engine="main", criteria=["safety"])  # noqa: F811
    engine = Scripted(lambda _: said("", A=0.8, B=0.2))
    known = Known(Judged([], 0))
    again = AgainJudge(ByVotes(Judge("main", engine, config, {"safety": curve()}), 1), known)
    question = Question(SAFETY, Pool("row", (), "", {"original": "text"}), "original")
    for _ in range(2):
        ((verdict,), _usage) = asyncio.run(again.ask(question, ""))
        assert verdict.value == pytest.approx(curve()(0.8))
    assert len(engine.asked) == 1
    (row,) = known.of("main", question)
    assert row["value"] == pytest.approx(0.8)


def test_judges_disagree_by_what_counts() -> None:
    config = JudgeConfig(engine="main", criteria=["safety"])  # noqa: F811
    scorer = RowScorer([Judge("main", None, config, {"safety": curve()})], config)
    row = {"judge": "main", "criterion": "safety", "value": 0.8}
    assert scorer._calibrated(row)["value"] == pytest.approx(curve()(0.8))
    for other in ({"value": None}, {"judge": "big"}, {"criterion": "quality"}):
        assert scorer._calibrated(row | other) == row | other

"""What a model folder says of its training: the same sets and judges are known again."""

from pathlib import Path
from typing import Any

import pytest

from prewrite.engine.config import VllmConfig
from prewrite.engine.digest import model_digest
from prewrite.judge.config import JudgeConfig
from prewrite.judge.passes import judge_pass
from prewrite.judge.provenance import NAME, JudgeIdentity, Provenance, TrainedOn, read, set_judges
from prewrite.shards.manifest import Manifest, PassInfo


def engine(model: str, **changed: Any) -> VllmConfig:
    return VllmConfig(kind="vllm", model=model, **changed)


def judges(model: str, *criteria: str, **changed: Any) -> JudgeIdentity:
    config = JudgeConfig(engine="main", criteria=list(criteria))
    return JudgeIdentity.of(config, {"main": engine(model, **changed)})


def judged(url: str, model: str, *criteria: str) -> Manifest:
    """A manifest as the judge pass leaves it."""
    config = JudgeConfig(engine="main", criteria=list(criteria))
    made = judge_pass(url, config, {"main": engine(model)})
    known = {
        "judges": {"main": engine(model).identity()},
        "criteria": made._criteria_config(),
    }
    passes = [PassInfo(name="judge", fingerprint="two", config=known)]
    return Manifest(status="complete", passes=passes, inputs=[])


def test_the_jury_of_a_set_is_that_of_its_configuration(tmp_path: Path) -> None:
    found = set_judges(judged(str(tmp_path), "big", "quality", "variety"))
    assert found == judges("big", "quality", "variety")
    nobody = set_judges(judged(str(tmp_path), "big", "variety"))
    assert nobody == judges("big", "variety")
    assert nobody and nobody.judges == {}, "an engine that was asked nothing judged nothing"
    rewritten = PassInfo(name="rewrite", fingerprint="0", config={})
    assert set_judges(Manifest(status="complete", passes=[rewritten], inputs=[])) is None


@pytest.mark.parametrize(
    ("other", "shared"),
    [
        (judges("big", "factuality"), ["the model big"]),
        (judges("big", "factuality", max_model_len=99, dtype="float32"), ["the model big"]),
        (judges("small", "safety"), []),
        (judges("small", "variety"), ["the criterion variety"]),
        (judges("big", "variety"), ["the criterion variety"]),
    ],
)
def test_a_model_is_the_same_on_any_criterion_a_function_only_itself(
    other: JudgeIdentity, shared: list[str]
) -> None:
    assert judges("big", "safety", "variety").shared_with(other) == shared


def test_a_judge_that_was_asked_nothing_is_not_shared(tmp_path: Path) -> None:
    scored = set_judges(judged(str(tmp_path), "big", "variety"))
    assert scored and judges("big", "safety").shared_with(scored) == []
    assert judges("big", "variety").shared_with(scored) == ["the criterion variety"]


def test_a_folder_is_known_by_its_content_under_any_name(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text("2" if name == "three" else "1")
    one, two, three = (judges(str(tmp_path / name), "safety") for name in ("one", "two", "three"))
    assert two.shared_with(one) == [f"the model {tmp_path / 'two'}"]
    assert three.shared_with(one) == []
    assert one.holds(engine(str(tmp_path / "two")))
    assert not one.holds(engine(str(tmp_path / "three")))


def test_it_is_written_and_read_and_taken_along(tmp_path: Path) -> None:
    first = TrainedOn(set="a", passes=["x"], parts="p")
    earlier = Provenance(data=[first], judged_by=[judges("big", "safety")])
    (tmp_path / NAME).write_text(earlier.model_dump_json())
    found = read(str(tmp_path))
    assert found == earlier
    second = TrainedOn(set="b", passes=["y"], parts="q", filter="chunk > 1")
    both = Provenance(data=[second, first], judged_by=earlier.judged_by).after(found)
    assert both.data == [first, second]
    assert both.judged_by == earlier.judged_by
    assert read("an/id") is None


def test_a_judge_that_was_made_from_another_is_none_of_its_own(tmp_path: Path) -> None:
    """In either direction, and however many trainings lie between; siblings are two models."""
    digests = {}
    for name, parent in (
        ("base", None),
        ("judge", "base"),
        ("tuned", "judge"),
        ("sibling", "base"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "weights").write_text(name)
        earlier = read(str(tmp_path / parent)) if parent else None
        parents = [digests[parent]] if parent else []
        left = Provenance(task="judge", parents=parents).after(earlier)
        (folder / NAME).write_text(left.model_dump_json())
        digests[name] = model_digest(str(folder))
    base, judge, tuned, sibling = (
        judges(str(tmp_path / name), "safety") for name in ("base", "judge", "tuned", "sibling")
    )
    made = f"{tmp_path / 'judge'}, from which {tmp_path / 'tuned'} was made,"
    assert tuned.shared_with(judge) == [f"the model {made}"]
    assert tuned.shared_with(base) != [] and base.shared_with(tuned) != []
    assert sibling.shared_with(judge) == [] and judge.shared_with(sibling) == []
    assert judge.holds(engine(str(tmp_path / "tuned")))


def test_sets_are_the_same_by_parts_or_by_what_cut_them() -> None:
    one = TrainedOn(set="a", passes=["cut", "judged"], parts="p")
    assert one.same_as(TrainedOn(set="b", passes=["cut", "otherwise"], parts="q"))
    assert one.same_as(TrainedOn(set="b", passes=["cut anew"], parts="p"))
    assert not one.same_as(TrainedOn(set="a", passes=["cut anew"], parts="q"))
    unknown = TrainedOn(set="a", passes=[""], parts="q")
    assert not unknown.same_as(TrainedOn(set="b", passes=[""], parts="r"))

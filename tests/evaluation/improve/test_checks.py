"""What must not run is refused before anything does, in one sentence that names it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from prewrite.base.errors import ConfigError, InputError
from prewrite.base.fingerprint import fingerprint
from prewrite.commands import main
from prewrite.engine.digest import model_digest
from prewrite.evaluation.improve.anchor import model_ref, refuse_kin, refuse_learnt
from prewrite.evaluation.improve.guards import PartName
from prewrite.evaluation.improve.human import refuse_little_human
from prewrite.evaluation.improve.run import _alone
from prewrite.evaluation.improve.slices import share_of
from prewrite.evaluation.improve.state import PARTS
from prewrite.judge.provenance import NAME, JudgeIdentity, Provenance, TrainedOn
from prewrite.shards.manifest import PassInfo
from prewrite.shards.reader import ShardSet
from prewrite.train.online import kept_pools, pool_set
from tests.evaluation.improve.rounds import TRAIN, sections
from tests.shards.making import row, write_set
from tests.train.online.pools import group, prompt

TRAIN_JUDGE = Path(__file__).parents[3] / "configs/train-judge.yaml"


def said(folder: Path, capsys: pytest.CaptureFixture[str], **changed: Any) -> tuple[int, str]:
    """What the command says of a recipe."""
    file = folder / "improve.yaml"
    file.write_text(yaml.safe_dump({"output": "x", "improve": sections(folder, **changed)}))
    code = main(["improve", "--config", str(file), "--dry-run"])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"anchor": {}}, "improve.anchor: found none; accepted: what candidates are measured with"),
        ({"last_anchor": {"other": "x"}}, "improve.last_anchor: found other; accepted: the names"),
        ({"comparisons": 8}, "improve.comparisons: found 8; accepted with 3 rounds: at least 9"),
        ({"documents": [0.5, 0.2]}, "improve.documents: found [0.5, 0.2]; accepted: two numbers"),
        ({"gain": 0.1}, "improve.anchor.texts: found 40 documents in "),
        ({"gain": 0.1}, "accepted: at least 327, which it takes to find a gain of 0.1 among 9"),
    ],
)
def test_a_plan_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], sentence: str
) -> None:
    code, told = said(tmp_path, capsys, **changed)
    assert code == 2 and sentence in told and told.count("error:") == 1


@pytest.mark.parametrize(
    ("key", "old", "new", "sentence"),
    [
        ("make", "train --config", "trian --config", "found the command 'trian'; did you mean"),
        ("make", "{made}", "{maid}", "policy.make.0: found {maid}; accepted: {number}, {round}"),
        ("make", "{made}", "runs/x", "policy.make: found no {made}; accepted: commands that use"),
        ("make", "--config", "--cnfig", "accepted: COMMAND --config FILE key.sub=value"),
        (
            "make",
            "train.output",
            "train.model.path={policy} train.output",
            "the same base in every",
        ),
        ("make", "train.output", "train.modl=x train.output", "round-1.policy.1 (train): "),
        ("make", " 'train.data", " train.data.0.set={anchor} 'train.data", "found {anchor}; accep"),
        ("make", "{from}", "0.0", "round-2.policy.1: found documents 0 to 0.666667 of data/human"),
        ("make", "share(doc_id) < {to}", "source == 1", "and 0 to 1 of them in round-1.policy.1"),
        ("measure", "{anchor.texts}", "data/x", "policy.measure: found no {anchor.NAME}"),
        ("measure", "{anchor.texts}", "{anchor.txts}", "found {anchor.txts}; accepted: {model}"),
    ],
)
def test_a_command_that_cannot_be(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    key: str,
    old: str,
    new: str,
    sentence: str,
) -> None:
    part = dict(sections(tmp_path)["policy"])
    (line,) = part[key]
    assert old in line
    part[key] = [line.replace(old, new)]
    code, told = said(tmp_path, capsys, policy=part)
    assert code == 2 and sentence in told, told


def test_an_anchor_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = sections(tmp_path)["anchor"] | {"texts": str(tmp_path / "nowhere")}
    _, told = said(tmp_path, capsys, anchor=found)
    assert "improve.anchor.texts: found nothing at " in told


def test_an_anchor_that_descends_from_what_it_judges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sections(tmp_path)
    start, judge = tmp_path / "start/policy", tmp_path / "one-judge"
    parents = Provenance(parents=[model_digest(str(start))], data=[], judged_by=[])
    (judge / NAME).write_text(parents.model_dump_json(by_alias=True))
    code, told = said(tmp_path, capsys)
    assert code == 2 and f"improve.anchor.judge: found {judge}, which is the policy" in told
    (judge / NAME).unlink()
    parents = Provenance(parents=[model_digest(str(judge))], data=[], judged_by=[])
    (start / NAME).write_text(parents.model_dump_json(by_alias=True))
    assert "or descends from it, or it from that" in said(tmp_path, capsys)[1]


def test_a_model_of_a_hub_descends_by_its_name(tmp_path: Path) -> None:
    places = sections(tmp_path)["anchor"]
    made = Provenance(parents=["org/base"], data=[], judged_by=[])
    Path(places["judge"], NAME).write_text(made.model_dump_json(by_alias=True))
    with pytest.raises(ConfigError, match="which is the policy org/base or descends from it"):
        refuse_kin("anchor", places, {"policy": model_ref("org/base")})
    refuse_kin("anchor", places, {"policy": model_ref("org/other")})


def test_the_same_texts_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = sections(tmp_path)["anchor"]
    _, told = said(tmp_path, capsys, last_anchor=first)
    assert "improve.last_anchor.texts: found " in told and "the same as in anchor" in told
    write_set(str(tmp_path / "mixed"), [[row(f"one-{n}") for n in range(39)], [row("new")]])
    last = first | {"texts": str(tmp_path / "mixed")}
    _, told = said(tmp_path, capsys, last_anchor=last)
    assert "found 39 documents of anchor.texts in it; accepted: none" in told


def test_an_anchor_that_was_learnt_from(tmp_path: Path) -> None:
    places = sections(tmp_path)["anchor"]
    url = str(tmp_path / "learnt")
    manifest = write_set(url, [[row("one-3"), row("other")]])
    model = tmp_path / "start/policy"
    known = Provenance(data=[TrainedOn.of(url, ShardSet(url).manifest, None)], judged_by=[])
    assert manifest.documents == 2
    (model / NAME).write_text(known.model_dump_json(by_alias=True))
    for part in PARTS:  # whoever has labelled it
        with pytest.raises(InputError, match="improve.anchor.texts: found 1 of its documents in "):
            refuse_learnt("anchor", places, part, str(model))


def test_kept_pools_of_an_anchors_documents_are_no_data_for_a_judge(tmp_path: Path) -> None:
    """By their own names: a set of pools has those of the set that the run learnt from."""
    places, model = sections(tmp_path)["anchor"], tmp_path / "start/judge"
    for name, seen in (("one-3", True), ("other", False)):
        pools, url = str(tmp_path / f"pools-{name}"), str(tmp_path / f"set-{name}")
        kept_pools.write(pools, 1, 0, [(prompt(id="a row", doc_id=name), group("a", id="a row"))])
        pool_set.run(pools, url)
        trained = [TrainedOn.of(url, ShardSet(url).manifest, None)]
        known = Provenance(data=trained, judged_by=[judge_of(places["judge"])])
        (model / NAME).write_text(known.model_dump_json(by_alias=True))
        if seen:
            with pytest.raises(InputError, match="found 1 of its documents in .*set-one-3, which"):
                refuse_learnt("anchor", places, "judge", str(model))
        else:
            refuse_learnt("anchor", places, "judge", str(model))


def judge_of(model: str) -> JudgeIdentity:
    judge = {"model": model, "digest": model_digest(model)}
    return JudgeIdentity(judges={"e": judge}, criteria=[], asked=["quality"])


@pytest.mark.parametrize("key", ["anchor", "last_anchor"])
@pytest.mark.parametrize("part", PARTS)
def test_whose_labels_may_be_learnt_from(tmp_path: Path, key: str, part: PartName) -> None:
    """Those of the first anchor's judge, and by the judge alone."""
    places, model = sections(tmp_path)[key], tmp_path / "start" / part
    known = Provenance(data=[], judged_by=[judge_of(places["judge"])])
    (model / NAME).write_text(known.model_dump_json(by_alias=True))
    if (key, part) == ("anchor", "judge"):
        refuse_learnt(key, places, part, str(model))
        return
    only = "labels only what the judge learns from" if key == "anchor" else "nothing is trained wit"
    sentence = f"improve.{key}.judge: found .*, which judged what {model} learnt from; accepted: a "
    with pytest.raises(InputError, match=f"{sentence}judge that {only}"):
        refuse_learnt(key, places, part, str(model))


@pytest.mark.parametrize("key", ["anchor", "last_anchor"])
def test_labels_that_may_not_be_learnt_from_are_seen_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    url, given = str(tmp_path / "labelled"), sections(tmp_path)
    judges = judge_of(given[key]["judge"]).judges
    criteria = [{"name": "quality", "kind": "pairwise", "weight": 1.0, "key": ""}]
    config = {"judges": judges, "criteria": criteria}
    made = PassInfo(name="judge", fingerprint=fingerprint(config), config=config)
    write_set(url, [[row("document")]], passes=[made])
    slices = "share(doc_id) >= {from} and share(doc_id) < {to}"
    slices = f"rewrite_status != 'skipped' and {slices}"
    data = f'"train.data=[{{set: {url}, criterion: quality, filter: {slices}}}]"'
    words = f"{data} train.rollouts.probe=null train.output={{made}}"
    part = given["judge"] | {"make": [f"train --config {TRAIN_JUDGE} {words}"]}
    code, told = said(tmp_path, capsys, judge=part)
    if key == "anchor":
        assert code == 0, told
        return
    assert code == 1 and f", which judged {url}, which round-1.judge.1 learns from; accept" in told


@pytest.mark.parametrize(
    ("objective", "candidates", "sentence"),
    [
        (["nll"], None, None),
        ([{"kind": "nll", "text": "rewrite"}], None, "found 0 % of what is learnt on the text"),
        ([{"kind": "nll", "weight": 0.9}, {"kind": "nll", "text": "rewrite"}], None, "found 47 %"),
        (["nll", "rf_nll"], ["original", "rewrite"], None),
        ("dpo", ["original", "rollout"], None),
        ("dpo", ["rewrite", "rollout"], "candidates: found rewrite, rollout; accepted: with orig"),
    ],
)
def test_half_of_what_is_learnt_is_human(
    objective: Any, candidates: list[str] | None, sentence: str | None
) -> None:
    phase = {"objective": objective} | ({"candidates": candidates} if candidates else {})
    train = TRAIN | {"curriculum": [phase]}
    if sentence is None:
        refuse_little_human("step", train)
        return
    with pytest.raises(ConfigError, match=sentence):
        refuse_little_human("step", train)
    refuse_little_human("step", train | {"task": {"kind": "rewrite"}})


@pytest.mark.parametrize(
    ("text", "slices"),
    [
        (None, (0, 1)),
        ("share(doc_id) < 0.5", (0, 0.5)),
        ("0.2 <= share(doc_id) < 0.5 and x == 1", (0.2, 0.5)),
        ("(a == 0 or a == 1) and share(doc_id) >= 0.25 and 0.5 > share(doc_id)", (0.25, 0.5)),
        ("share(doc_id) < 0.5 or x == 1", (0, 1)),
        ("not (share(doc_id) < 0.5)", (0, 1)),
    ],
)
def test_the_slice_of_a_filter(text: str | None, slices: tuple[float, float]) -> None:
    assert share_of(text) == slices


def test_two_runs_at_once(tmp_path: Path) -> None:
    refused = pytest.raises(ConfigError, match="another run is at work")
    with _alone(tmp_path / "rounds"), refused, _alone(tmp_path / "rounds"):
        pass

"""Sets that cannot be trained on are refused in one sentence, before anything is loaded."""

from pathlib import Path
from typing import Any

import pytest

from prewrite.base.errors import ConfigError, InputError, ShardError
from prewrite.base.files import Folder
from prewrite.judge.criteria import load_criterion
from prewrite.shards.manifest import PassInfo
from prewrite.train.data.source import TrainingSet
from tests.shards.edits import replaced
from tests.train.data.sets import config, write_set

ROWS = [[[{"original": "One.", "rewrite": "Two."}], [{"original": "Three."}]]]


def source(url: str, **changes: Any) -> TrainingSet:
    recipe = config({"set": url, "filter": changes.pop("where", None)}, **changes)
    return TrainingSet(0, recipe)


def counts(folder: Path, **changes: Any) -> list[int]:
    url = write_set(folder / "set", changes.pop("rows", ROWS), changes.pop("criteria", ["quality"]))
    return source(url, **changes).counts(Folder(str(folder / "cache")))


def phase(**changes: Any) -> list[dict[str, Any]]:
    return [{"name": "one", "objective": "nll", "until": {"step": 9}, **changes}]


def test_counts_of_a_good_set(tmp_path: Path) -> None:
    assert counts(tmp_path) == [2]
    assert counts(tmp_path, where="rewrite is not None") == [1]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"where": "chunk > 5"}, r"train\.data\.0\.filter: no row of .*set passes `chunk > 5`"),
        ({"where": "chunks > x"}, r"train\.data\.0\.filter: found the name 'x'"),
        ({"curriculum": phase(filter="a > 5")}, r"train\.curriculum\.0\.filter: found the name"),
        (
            {"criteria": [], "curriculum": phase(objective="dpo")},
            r"train\.data\.0\.set: found .*set without scores; accepted: a judged set",
        ),
    ],
)
def test_a_set_that_gives_no_samples_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        counts(tmp_path, **changes)


def judged(*criteria: str, **weights: float) -> PassInfo:
    """A pass that judged a set, as its manifest tells of it."""
    known = [load_criterion(one).identity() for one in criteria]
    told = [one | {"weight": weights.get(one["name"], 1.0), "key": "k"} for one in known]
    return PassInfo(
        name="judge",
        fingerprint="j",
        config={"judge": {"criteria": list(criteria)}, "criteria": told},
    )


@pytest.mark.parametrize("objective", ["rf_nll", "dpo", "grpo"])
def test_an_original_that_was_its_own_reference_does_not_compete(
    tmp_path: Path, objective: str
) -> None:
    names = ["quality", "factuality"]
    own = write_set(tmp_path / "own", ROWS, names, passes=[judged("quality", "factuality")])
    competes = phase(objective=objective)
    with pytest.raises(ConfigError, match=r"curriculum\.0\.candidates: found original; accepted w"):
        source(own, curriculum=competes)
    source(own, curriculum=phase(objective="nll"))
    others = phase(objective=objective, candidates=["rewrite", "rewrite_faq"])
    texts = [[[{"original": "One.", "rewrite": "Two.", "rewrite_faq": "Three."}]]]
    several, passes = ["rewrite", "faq"], [judged(*names)]
    url = write_set(tmp_path / "faq", texts, names, rewrites=several, passes=passes)
    source(url, curriculum=others)
    for number, made in enumerate((judged(*names, factuality=0), judged("factuality-alone"))):
        url = write_set(tmp_path / f"good-{number}", ROWS, names, passes=[made])
        source(url, curriculum=competes)


@pytest.mark.parametrize("rows", [[], [[]], [[], []]])
def test_an_empty_set_is_one_sentence(tmp_path: Path, rows: list[Any]) -> None:
    with pytest.raises(InputError, match="this set has no rows"):
        counts(tmp_path, rows=rows)


def test_a_set_that_is_not_there_or_not_finished_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="no shard set here"):
        source(str(tmp_path))
    url = write_set(tmp_path / "set", ROWS)
    replaced(Path(url), '"complete"', '"interrupted"')
    with pytest.raises(ShardError, match="this set is interrupted; finish its run first"):
        source(url)


@pytest.mark.parametrize(
    ("longest", "context", "tokens", "size"),
    [(2048, 512, 128, 12), (2048, 0, 128, 16), (64, 8, 128, 1), (64, 8, 7, 8)],
)
def test_a_stretch_has_as_many_chunks_as_fit(
    tmp_path: Path, longest: int, context: int, tokens: int, size: int
) -> None:
    url = write_set(tmp_path / "set", ROWS, tokens=tokens)
    batch = {"sequence_tokens": 2048, "max_seq_len": longest, "context_tokens": context}
    assert source(url, batch=batch).size == size


def test_a_set_that_does_not_say_how_it_was_cut_has_chunks_of_128(tmp_path: Path) -> None:
    url = write_set(tmp_path / "set", ROWS, tokens=0)
    batch = {"sequence_tokens": 2048, "max_seq_len": 1024, "context_tokens": 0}
    assert source(url, batch=batch).size == 8

"""Batches: pure, the same for any number of ranks, and made ahead without changing anything."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prewrite.base.errors import ConfigError, ShardError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import differences
from prewrite.shards.reader import ShardSet
from prewrite.train.config.phases import Phase
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.loader import Batch, Loader, share_out
from prewrite.train.data.rows import PackedSequence
from prewrite.train.data.source import References
from prewrite.train.state import State
from prewrite.train.state import settings as settings_of
from prewrite.train.tally import LearningTally
from tests.train.data.sets import BOS, EOS, HOSTILE, config, ids, tokenizer, write_set
from tests.train.data.test_rows import read

Learnt = tuple[str, int, tuple[int, ...], tuple[int, ...]]
"""(row id, kind, prefix, tokens)"""

PHASES = [
    {
        "name": "both",
        "objective": "nll",
        "candidates": ["original", "rewrite"],
        "until": {"step": 100},
    },
    {"name": "plain", "objective": "nll", "candidates": ["original"], "until": {"step": 200}},
    {"name": "better", "objective": "dpo", "filter": "rewrite_score > 0.5", "until": {"step": 300}},
]


def documents(first: int, count: int) -> list[list[dict[str, Any]]]:
    """Documents of 0 to 12 chunks, every text unlike all others, hostile ones among them."""
    return [
        [
            {
                "original": f" {d}.{c} {HOSTILE[(d + c) % len(HOSTILE)]}"[:12],
                "rewrite": None if c % 3 == 2 else f" {d}/{c} rewritten",
                "original_score": 0.5,
                "rewrite_score": None if c % 3 == 2 else c / 10,
                "source": "even" if d % 2 == 0 else "odd",
            }
            for c in range(1 + d * 5 % 12)
        ]
        for d in range(first, first + count)
    ]


@dataclass(frozen=True)
class Given:
    """Two sets on disk and a folder for indexes."""

    one: str
    two: str
    cache: str

    def config(self, *sets: Any, **changes: Any) -> TrainConfig:
        batch = {"samples": 4, "sequence_tokens": 256, "max_seq_len": 48, "context_tokens": 16}
        changes = {"batch": batch, "curriculum": PHASES, **changes}
        return config(*(sets or (self.one,)), **changes)

    def loader(
        self,
        recipe: TrainConfig,
        rank: int = 0,
        ranks: int = 1,
        references: References | None = None,
    ) -> Loader:
        return Loader(recipe, tokenizer(), BOS, EOS, self.cache, rank, ranks, references)

    def blend(self) -> TrainConfig:
        return self.config(self.one, {"set": self.two, "weight": 0.3})


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("sets")
    one = write_set(folder / "one", [documents(0, 5), [], documents(5, 3), documents(8, 4)])
    two = write_set(folder / "two", [documents(100, 3)])
    return Given(one, two, str(folder / "cache"))


def learnt(rows: Sequence[PackedSequence]) -> list[Learnt]:
    every = [candidate for row in rows for candidate in read(row)]
    return sorted((name, kind, prefix, tokens) for _, kind, name, prefix, tokens in every)


def phase(recipe: TrainConfig, step: int) -> Phase:
    """The phase of a step, if there are five steps to each."""
    return recipe.curriculum[min(step // 5, len(recipe.curriculum) - 1)]


def steps(loader: Loader, recipe: TrainConfig, which: Sequence[int]) -> list[Batch]:
    size = recipe.batch.samples
    return [loader.batch(step * size, phase(recipe, step)) for step in which]


@pytest.fixture(scope="module")
def whole(sets: Given) -> list[list[Learnt]]:
    """What each of 20 steps learns in a run that nothing stops."""
    recipe = sets.blend()
    with sets.loader(recipe) as loader:
        return [learnt(batch.rows) for batch in steps(loader, recipe, range(20))]


@settings(max_examples=10)
@given(st.integers(0, 19), st.integers(0, 19), st.integers(1, 5))
def test_a_run_stopped_anywhere_goes_on_exactly(
    sets: Given, whole: list[list[Learnt]], first: int, second: int, ranks: int
) -> None:
    """Twice in one epoch too (an epoch has 6 steps), and on another number of ranks."""
    recipe = sets.blend()
    for at in (first, second):
        found: list[list[Learnt]] = [[], [], []]
        for rank in range(ranks):
            with sets.loader(recipe, rank, ranks) as loader:
                for n, batch in enumerate(steps(loader, recipe, range(at, at + 3))):
                    found[n] += learnt(batch.rows)
        assert [sorted(step) for step in found][: 20 - at] == whole[at : at + 3]


@pytest.fixture(scope="module")
def jumping(sets: Given) -> Iterator[Loader]:
    with sets.loader(sets.blend()) as loader:
        yield loader


@settings(max_examples=10)
@given(st.lists(st.integers(0, 19), min_size=1, max_size=4))
def test_a_loader_gives_what_is_asked_for_in_any_order(
    sets: Given, whole: list[list[Learnt]], jumping: Loader, which: list[int]
) -> None:
    for step, batch in zip(which, steps(jumping, sets.blend(), which), strict=True):
        assert learnt(batch.rows) == whole[step]
        assert (batch.first, batch.stop) == (4 * step, 4 * step + 4)


@pytest.mark.parametrize("samples", [1, 3, 7])
def test_every_epoch_learns_every_text_once_whatever_a_step_holds(
    sets: Given, samples: int
) -> None:
    """Each text: of all chunks of all documents, with a prefix out of its own document."""
    batch = {"samples": samples, "sequence_tokens": 256, "max_seq_len": 48, "context_tokens": 16}
    recipe = sets.config(batch=batch)
    given = {
        f"{d}-{c}": text for d, doc in enumerate(documents(0, 12)) for c, text in enumerate(doc)
    }
    with sets.loader(recipe) as loader:
        size = loader.sizes[sets.one]
        assert size == sum(-(-len(doc) // 4) for doc in documents(0, 12))
        for epoch in range(2):
            found = Counter[tuple[str, int]]()
            steps = range(0, (epoch + 1) * size, samples)
            for first in steps:
                for row in loader.batch(first, recipe.curriculum[0]).rows:
                    for name, kind, prefix, tokens in learnt([row]):
                        text = given[name]["rewrite" if kind else "original"]
                        last = [EOS] * (list(tokens)[-1] == EOS)
                        assert list(tokens) == ids(text) + last
                        assert prefix[0] == BOS or len(prefix) >= 16
                        found[name, kind] += 1
            expected = {(n, k) for n, t in given.items() for k in (0, 1) if k == 0 or t["rewrite"]}
            assert set(found) == expected
            if (epoch + 1) * size % samples == 0:
                assert set(found.values()) == {epoch + 1}


def test_sets_are_blended_by_weight_whatever_their_order_in_the_recipe(sets: Given) -> None:
    batch = {"samples": 80, "sequence_tokens": 256, "max_seq_len": 48, "context_tokens": 16}
    data = [{"set": sets.one, "weight": 3}, sets.two]
    found = []
    for some in (data, data[::-1]):
        recipe = sets.config(*some, batch=batch)
        with sets.loader(recipe) as loader:
            found.append(loader.batch(0, recipe.curriculum[1]).rows)
    assert learnt(found[0]) == learnt(found[1])
    texts = [tokenizer().decode(tokens) for *_, tokens in learnt(found[0])]
    second = sum(text.startswith(" 10") and not text.startswith(" 10.") for text in texts)
    assert 0.1 < second / len(texts) < 0.4


@pytest.mark.parametrize(("where", "refused"), [("chunk > 50", True), ("source == 'odd'", False)])
def test_a_phase_whose_filter_leaves_nothing_of_all_sets_is_refused(
    tmp_path: Path, sets: Given, where: str, refused: bool
) -> None:
    """One that leaves nothing of one set among several is not."""
    even = write_set(tmp_path / "set", [documents(0, 1)])
    phases = [PHASES[0], {**PHASES[1], "filter": where}]
    recipe = sets.config(sets.one, even, curriculum=phases)
    if refused:
        with pytest.raises(ConfigError, match=r"train\.curriculum\.1\.filter: no row that"):
            sets.loader(recipe)
    else:
        sets.loader(recipe).close()


def test_a_phase_chooses_candidates_and_chunks(sets: Given) -> None:
    recipe = sets.config()
    both, plain, better = recipe.curriculum
    with sets.loader(recipe) as loader:
        kinds = [{kind for _, kind, *_ in learnt(loader.batch(0, p).rows)} for p in (both, plain)]
        assert kinds == [{0, 1}, {0}]
        rows = [row for n in range(6) for row in loader.batch(4 * n, better).rows]
        chunks = {int(name.split("-")[1]) for row in rows for name in row.candidates.ids}
        assert chunks == {6, 7, 9, 10}
        assert all(score > 0.5 for r in rows for k, score in _scores(r) if k == 1)
        assert loader.batch(0, better).counts["context_only"] > 0


def _scores(row: PackedSequence) -> list[tuple[int, float]]:
    return list(zip(row.candidates.kind_C.tolist(), row.candidates.score_C.tolist(), strict=True))


def test_a_data_filter_makes_fewer_samples(sets: Given) -> None:
    recipe = sets.config({"set": sets.one, "filter": "source == 'even'"})
    with sets.loader(recipe) as loader:
        size = loader.sizes[sets.one]
        assert size == sum(-(-len(doc) // 4) for doc in documents(0, 12)[::2])
        found = {
            n
            for first in range(0, size, 4)
            for n, *_ in learnt(loader.batch(first, recipe.curriculum[1]).rows)
        }
    assert {int(name.split("-")[0]) % 2 for name in found} == {0}


def test_ranks_share_a_step_by_cost_and_an_idle_one_gets_padding(sets: Given) -> None:
    recipe = sets.config()
    with sets.loader(recipe, 5, 6) as loader:
        batch = loader.batch(0, recipe.curriculum[0])
    assert sorted(s for share in batch.shares for s in share) == [0, 1, 2, 3]
    assert batch.shares[5] == () and batch.counts == {}
    assert [row.used for row in batch.rows] == [0] and batch.padding == 128


@given(st.lists(st.integers(0, 9000), max_size=60), st.integers(1, 9))
def test_shares_are_even_and_lose_nothing(costs: list[int], ranks: int) -> None:
    shares = share_out(costs, ranks)
    assert sorted(n for share in shares for n in share) == list(range(len(costs)))
    loads = [sum(costs[n] for n in share) for share in shares]
    assert max(loads) <= sum(costs) / ranks + max(costs, default=0)
    assert shares == share_out(costs, ranks)


def test_references_reach_the_candidates(sets: Given) -> None:
    asked = Counter[tuple[str, str]]()

    def references(url: str, part: str) -> dict[tuple[str, int], float]:
        asked[url, part] += 1
        return {(f"{d}-{c}", 1): -d - c / 100 for d in range(12) for c in range(12)}

    recipe = sets.config()
    with sets.loader(recipe, references=references) as loader:
        rows = [row for n in range(5) for row in loader.batch(4 * n, recipe.curriculum[0]).rows]
    for row in rows:
        found = zip(
            row.candidates.ids,
            row.candidates.kind_C.tolist(),
            row.candidates.reference_C.tolist(),
            strict=True,
        )
        for name, kind, value in found:
            d, c = map(int, name.split("-"))
            assert isnan(value) if kind == 0 else value == pytest.approx(-d - c / 100)
    assert {url for url, _ in asked} == {sets.one} and len(asked) == 3


@pytest.mark.parametrize("ranks", [1, 2, 7])
def test_storage_order_has_every_text_once_with_the_prefix_it_is_trained_with(
    sets: Given, ranks: int
) -> None:
    recipe = sets.config(sets.one, sets.two)
    stored, parts = list[Learnt](), list[tuple[str, str]]()
    for rank in range(ranks):
        with sets.loader(recipe, rank, ranks) as loader:
            for url, part, rows in loader.stored():
                stored += learnt(list(rows))
                parts.append((url, part))
    assert len(parts) == len(set(parts)) == 4
    trained = set[Learnt]()
    with sets.loader(recipe) as loader:
        for first in range(0, 3 * sum(loader.sizes.values()), 4):
            trained.update(learnt(loader.batch(first, recipe.curriculum[0]).rows))
    assert len(stored) == len(set(stored)) and set(stored) == trained


def test_what_a_change_changes_is_named(sets: Given) -> None:
    def identity(recipe: TrainConfig) -> dict[str, Any]:
        with sets.loader(recipe) as loader:
            return loader.identity()

    old = identity(sets.config())
    assert old == identity(sets.config())
    assert differences(old, identity(sets.config(seed=3))) == ["seed: 0 → 3"]
    filtered = identity(sets.config({"set": sets.one, "filter": "chunk < 9", "weight": 2.0}))
    assert differences(old, filtered) == [
        f'sets.{sets.one}.filter: "" → "chunk < 9"',
        f"sets.{sets.one}.weight: 1.0 → 2.0",
    ]
    longer = sets.config().batch.model_dump() | {"max_seq_len": 128}
    changed = differences(old, identity(sets.config(batch=longer)))
    assert changed == [f"sets.{sets.one}.chunks_per_stretch: 4 → 14"]
    assert len(differences(old, identity(sets.config(sets.two)))) == 2


def test_a_run_refuses_another_generation_of_its_set(tmp_path: Path, sets: Given) -> None:
    url = write_set(tmp_path / "set", [documents(0, 3)])
    recipe = sets.config(url)

    def identity() -> dict[str, Any]:
        with sets.loader(recipe) as loader:
            return loader.identity()

    state = State(
        step=1,
        samples=4,
        skipped=0,
        empty=0,
        tally=LearningTally(),
        curriculum={"starts": [0]},
        settings=settings_of(recipe),
        data=identity(),
    )
    del state.data["sets"][url]["generation"]  # as before there were any
    state.refuse_others("run", recipe, identity(), None, 0)
    manifest = ShardSet(url).manifest
    manifest.generation = 2
    manifest.save(Folder(url))
    with pytest.raises(ConfigError) as told:
        state.refuse_others("run", recipe, identity(), None, 0)
    assert f"  data.sets.{url}.generation: 1 → 2" in str(told.value).splitlines()


def test_an_error_in_the_thread_reaches_the_caller_when_its_batch_is_due(
    tmp_path: Path, sets: Given
) -> None:
    url = write_set(tmp_path / "set", [documents(0, 3), documents(3, 3)])
    recipe = sets.config(url)
    sets.loader(recipe).close()  # makes the index
    Path(url, ShardSet(url).parts[1].file).unlink()
    with sets.loader(recipe) as loader, pytest.raises(ShardError, match="listed, but not there"):
        for step in range(9):
            loader.batch(4 * step, recipe.curriculum[0])


def test_waiting_is_measured_and_closing_twice_is_fine(sets: Given) -> None:
    loader = sets.loader(sets.config())
    loader.batch(0, sets.config().curriculum[0])
    assert loader.wait_seconds > 0
    loader.close()
    loader.close()


def test_tokens_are_accounted_for(sets: Given) -> None:
    recipe = sets.config()
    with sets.loader(recipe) as loader:
        batch = loader.batch(8, recipe.curriculum[0])
    assert batch.used == sum(row.used for row in batch.rows)
    assert batch.used + batch.padding == sum(len(row.tokens_S) for row in batch.rows)
    assert batch.counts["samples"] == 4
    assert batch.counts["original"] + batch.counts["rewrite"] == len(learnt(batch.rows))

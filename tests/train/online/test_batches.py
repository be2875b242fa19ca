"""Whatever is killed, and whoever goes on: every sample is trained once, in its step, with rollouts
of the weights that a run without a kill would have sampled it with.

The real store, staleness and bookkeeping, driven over random lives of a run: each with its own
number of data parallel ranks, killed after any step with any part of what was under way done, the
newest record torn or not. The engine is a stand-in that answers with the version of its weights,
for here the faults are the point; ranks are threads that meet where processes would.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prewrite.base.errors import ShardError
from prewrite.judge.pool import Pool
from prewrite.train.data.loader import LaidOut
from prewrite.train.messages import (
    PromptKey,
    Rollout,
    RolloutGroup,
    RolloutPrompt,
    RolloutRequest,
    RolloutResponse,
    WeightSync,
)
from prewrite.train.online import batches, kept_pools
from prewrite.train.online.prompts import PromptBatch
from prewrite.train.online.staleness import StalenessSchedule
from prewrite.train.online.store import RolloutStoreWriter
from prewrite.train.output import Output

SIZE = 4  # samples a step
STEPS, EVERY = 14, 3  # of the run; between two checkpoints
START = 2  # steps before the online phase
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # the store waits for its disk


class Ranks:
    """What `train.parallel` is to `online`, for threads."""

    def __init__(self, count: int) -> None:
        self.count, self._mine = count, threading.local()
        self._barrier, self._boxes = threading.Barrier(count), [False] * count

    def enter(self, rank: int) -> None:
        self._mine.rank = rank

    def data_rank(self) -> int:
        return int(self._mine.rank)

    def is_main(self) -> bool:
        return self.data_rank() == 0

    def is_leader(self) -> bool:
        return True

    def broadcast(self, value: Any) -> Any:
        return value

    def any_of(self, mine: bool) -> bool:
        self._boxes[self.data_rank()] = mine
        self._barrier.wait(20)
        found = any(self._boxes)
        self._barrier.wait(20)
        return found

    @contextmanager
    def main_first(self) -> Iterator[None]:
        if not self.is_main():
            self._barrier.wait(20)
        yield
        if self.is_main():
            self._barrier.wait(20)


class Engine:
    """Answers in the order of the asks, when waited for or told to; stores as a worker does."""

    difference = 0.0

    def __init__(self, config: Any, engines: Any, end: int, store: Path, rank: int) -> None:
        self.version, self._store = -1, RolloutStoreWriter(store, rank)
        self._open: list[tuple[RolloutRequest, int]] = []
        self._done: dict[int, RolloutResponse] = {}
        ENGINES.append(self)

    def send(self, command: WeightSync | RolloutRequest) -> None:
        if isinstance(command, WeightSync):
            assert command.version > self.version
            self.version = command.version
        else:
            assert command.version == self.version
            self._open.append((command, self.version))

    def work(self, asks: int) -> None:
        for ask, version in self._open[:asks]:
            groups = tuple(group(prompt, version) for prompt in ask.prompts)
            self._store.append(ask.number, groups)
            self._done[ask.number] = RolloutResponse(ask.number, groups, {})
        self._open = self._open[asks:]

    def answer(self, number: int) -> RolloutResponse:
        while number not in self._done:
            self.work(1)
        return self._done.pop(number)

    def close(self) -> None:
        pass


ENGINES: list[Engine] = []


def group(prompt: RolloutPrompt, version: int) -> RolloutGroup:
    rollout = Rollout(text="a", tokens=(version,), logprobs=(-1.0,), ended=False)
    return RolloutGroup(
        sample=prompt.sample, id=prompt.id, version=version, rollouts=(rollout,), scores={}
    )


@pytest.fixture(autouse=True, scope="module")
def _read_by_reader() -> Iterator[None]:
    """`Reader` makes prompts without a set, and batches that say which groups are in them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "prompt_batch", lambda loader, first, *_: loader.asked(first))
        patch.setattr(
            batches,
            "batch_with_rollouts",
            lambda loader, asked, groups, _: loader.finish(asked, groups),
        )
        yield


@dataclass
class Reader:
    """Shares the samples of a step out over the ranks, each in its own way."""

    rank: int
    ranks: int
    asker: None = None

    def asked(self, first: int) -> PromptBatch:
        mine = range(first + self.rank, first + SIZE, self.ranks)
        prompts = tuple(RolloutPrompt(n, (1, 2), n, Pool(f"row-{n}", (), "", {})) for n in mine)
        laid = LaidOut(first, first + SIZE, (), (), Counter(), ())
        return PromptBatch(laid, prompts, {})

    def finish(self, asked: PromptBatch, groups: Any) -> Any:
        assert [(p.sample, p.id) for p in asked.prompts] == sorted(groups)
        return {group.sample: group.version for group in groups.values()}


@dataclass
class Life:
    """One start of a run. steps: made before the kill; done: asks that engines still finish."""

    ranks: int
    steps: int
    done: int
    torn: int


@dataclass
class Run:
    """A run over all its lives. trained: step → sample → version, as the last life has it. durable:
    bytes of the store's files at the last checkpoint, which no kill takes back.
    """

    folder: Path
    lag: StalenessSchedule
    checkpoint: int = START
    trained: dict[int, dict[int, int]] = field(default_factory=dict)
    durable: dict[Path, int] = field(default_factory=dict)

    def live(self, life: Life) -> None:
        ranks, begin, before = Ranks(life.ranks), self.checkpoint, self._sizes()
        end = min(begin + life.steps, STEPS)
        setattr(batches, "parallel", ranks)  # noqa: B010
        ENGINES.clear()
        with ThreadPoolExecutor(life.ranks) as pool:
            jobs = [pool.submit(self._rank, ranks, rank, begin, end) for rank in range(life.ranks)]
            for job in jobs:
                job.result()
        for engine in ENGINES:
            engine.work(life.done)
        for file, size in self._sizes().items():
            kept = max(self.durable.get(file, 0), before.get(file, 0))
            os.truncate(file, max(kept, size - life.torn))

    def _sizes(self) -> dict[Path, int]:
        return {f: f.stat().st_size for f in (self.folder / "rollouts/store").glob("*/*.jsonl")}

    def _rank(self, ranks: Ranks, rank: int, begin: int, end: int) -> None:
        ranks.enter(rank)
        config: Any = SimpleNamespace(
            rollouts=SimpleNamespace(replay=None, samples=1),
            batch=SimpleNamespace(samples=SIZE, max_seq_len=64),
        )
        shape: Any = SimpleNamespace(eos=[0])
        reader: Any = Reader(rank, ranks.count)
        output = Output(self.folder, self.folder)
        one = batches.OnlineBatches(config, {}, shape, reader, {"seed": 0}, output)
        one.resume(begin * SIZE)
        saved = begin
        for step in range(begin, end):
            phase: Any = None
            one.prepare(step, step * SIZE, phase, self.lag, STEPS, None)
            batch: Any = one.batch(step, phase).batch
            if rank == 0:
                self.trained[step] = {}
            ranks.any_of(False)
            self.trained[step] |= batch
            if (step + 1) % EVERY == 0:
                one.drain()
                ranks.any_of(False)
                one.saved(saved)
                self.checkpoint = saved = step + 1
                ranks.any_of(False)
                if rank == 0:
                    self.durable = self._sizes()


lives = st.lists(
    st.builds(
        Life,
        ranks=st.integers(1, 3),
        steps=st.integers(0, 9),
        done=st.integers(0, 5),
        torn=st.sampled_from([0, 0, 1, 40]),
    ),
    max_size=5,
)


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Callable[..., Any] = lambda *arguments: ()  # noqa: E731
    monkeypatch.setattr(batches, "parallel", None)
    monkeypatch.setattr(batches, "WorkerClient", Engine)
    monkeypatch.setattr(batches, "publish", nothing)
    monkeypatch.setattr(batches, "probe_logprobs", nothing)


@pytest.mark.parametrize("staleness", range(4))
@settings(max_examples=25)
@given(lives=lives, every=st.integers(1, 4))
def test_any_lives_tell_one_history(staleness: int, lives: list[Life], every: int) -> None:
    lag = StalenessSchedule(START, min(every, staleness + 1), staleness)
    with TemporaryDirectory(dir=MEMORY) as folder:
        run = Run(Path(folder), lag)
        for life in [*lives, Life(2, STEPS, 0, 0)]:
            run.live(life)
    assert sorted(run.trained) == list(range(START, STEPS))
    for step, samples in run.trained.items():
        assert sorted(samples) == list(range(step * SIZE, (step + 1) * SIZE))
        assert set(samples.values()) == {lag.version(step)}


def test_groups_of_before_the_checkpoint_are_neither_asked_for_nor_lost(tmp_path: Path) -> None:
    """A kill right after a checkpoint costs nothing that was sampled."""
    run = Run(tmp_path, StalenessSchedule(START, 1, 3))
    run.live(Life(2, 4, done=9, torn=0))  # to the checkpoint after step 6
    run.live(Life(1, 1, done=0, torn=0))
    (engine,) = ENGINES
    assert [ask.number for ask, _ in engine._open] == [9]


def _replayed(folder: Path, prompts: dict[int, RolloutPrompt]) -> set[PromptKey]:
    """The pools in the first online step of a run that replays those which one kept at
    `prompts`."""
    pools = str(folder / "pools")
    kept = [
        (one, group(one, 0).model_copy(update={"prompt": one.digest})) for one in prompts.values()
    ]
    kept_pools.write(pools, 1, 0, kept)
    config: Any = SimpleNamespace(
        rollouts=SimpleNamespace(replay=pools, samples=1),
        batch=SimpleNamespace(samples=SIZE, max_seq_len=64),
    )
    ranks = Ranks(1)
    ranks.enter(0)
    setattr(batches, "parallel", ranks)  # noqa: B010
    shape: Any = SimpleNamespace(eos=[0])
    reader: Any = Reader(0, 1)
    one = batches.OnlineBatches(config, {}, shape, reader, {}, Output(folder, folder))
    one.resume(0)
    phase: Any = None
    one.prepare(0, 0, phase, StalenessSchedule(0, 1, 0), 1, None)
    return {*one._steps[0].groups}


@pytest.mark.parametrize(
    "other", [{"tokens": (1, 3)}, {"reference": "b"}, {"row_id": "row-9"}, {"sample": 9}, {}]
)
def test_pools_of_other_places_are_not_replayed(tmp_path: Path, other: dict[str, Any]) -> None:
    """Those of a run with other data or tokenizer; those of one that kept only some are."""
    asked = {prompt.sample: prompt for prompt in Reader(0, 1).asked(0).prompts}
    pool = replace(asked[2].pool, **{k: v for k, v in other.items() if hasattr(asked[2].pool, k)})
    fields = {name: value for name, value in other.items() if not hasattr(pool, name)}
    kept = asked | {2: replace(asked[2], pool=pool, **fields)}
    told = f"^{tmp_path}/pools: sample 2, row row-2: found a pool of another prefix or original"
    refused = pytest.raises(ShardError, match=told)
    with refused if {"tokens", "reference"} & other.keys() else nullcontext():
        found = _replayed(tmp_path, kept)
        assert found == {prompt.key for prompt in asked.values()} & {p.key for p in kept.values()}

"""Batches of rows for one data-parallel rank: any batch, at once, and the next ones ahead of time.

`batch(first, phase)` is a pure function of recipe, sets, rank and number of ranks: no state but
caches. Every rank reads the rows of the whole step, and shares its samples out by the bytes of
their texts, the same way everywhere; it tokenises and packs only its own. So the samples of a step
do not depend on how many ranks there are, and no rank has much more to do than another.

A thread makes the next batches while the caller trains; two more read the parts that they need.
Memory: the parts of the windows in use (some 65,536 rows a set), those of the batches to come, and
a few batches.
"""

import heapq
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from types import TracebackType
from typing import Any, Self

from prewrite.base.errors import ConfigError
from prewrite.base.files import Folder
from prewrite.engine.tokenizer import PlainTokenizer
from prewrite.train.config.phases import Phase
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.learnable import learnable
from prewrite.train.data.order import Epochs, Order, SamplePosition
from prewrite.train.data.prompted import Asked, Asker, PromptedTrees
from prewrite.train.data.rows import PackedSequence, pack
from prewrite.train.data.samples import DocumentSpan, TreeBuilder
from prewrite.train.data.source import PartSamples, References, TrainingSet, references_file
from prewrite.train.data.texts import TextTokens
from prewrite.train.data.trees import Tree

_READY = 3  # batches made ahead
_NEAR = 8  # batches ahead of the newest whose parts are read


Shares = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Batch:
    """One rank's share of the samples [first, stop) of a run.

    rows: at least one; one of nothing but padding where the share is empty. counts: what became
    of the samples of this share. used, padding: tokens of its rows. shares: the samples of every
    rank.
    """

    first: int
    stop: int
    rows: tuple[PackedSequence, ...]
    counts: dict[str, int]
    used: int
    padding: int
    shares: Shares


@dataclass(frozen=True, eq=False)
class LaidOut:
    """One rank's share of the samples [first, stop), before it is packed. trees: those of each of
    `spans`, in their order. prompts: of a prompted task, those of each of `spans`. counts, shares:
    as a `Batch` has them.
    """

    first: int
    stop: int
    spans: tuple[DocumentSpan, ...]
    trees: tuple[list[Tree], ...]
    counts: Counter[str]
    shares: Shares
    prompts: tuple[list[Asked], ...] = ()


class Loader:
    """Batches for data-parallel rank `rank` of `ranks`. Use it as a context manager, or close it.

    cache: a folder for the sets' indexes. wait_seconds: how long the last call of `batch` waited.
    sizes: samples an epoch, by set. texts: the tokens of texts, for whoever waits for `laid_out`.
    asker: of a prompted task.
    Raises ShardError, InputError or ConfigError, at once or from `batch`, for sets, filters and
    rows that cannot be used.
    """

    def __init__(
        self,
        config: TrainConfig,
        tokenizer: PlainTokenizer,
        bos: int,
        eos: int,
        cache: str,
        rank: int = 0,
        ranks: int = 1,
        references: References | None = None,
        known: Callable[[str], frozenset[str]] = lambda url: frozenset(),
        asker: Asker | None = None,
    ) -> None:
        self._config, self._rank, self._ranks = config, rank, ranks
        self.texts, self._bos, self._eos = TextTokens(tokenizer), bos, eos
        self.asker = asker
        # In the order of their URLs, so that the order of the recipe does not matter.
        self._sources = sorted(
            (
                TrainingSet(number, config, known(data.set))
                for number, data in enumerate(config.data)
            ),
            key=lambda source: source.url,
        )
        counts = _counts(self._sources, config.curriculum, Folder(cache))
        self.sizes = {s.url: sum(c) for s, c in zip(self._sources, counts, strict=True)}
        self._order = _order(self._sources, counts, config.seed)
        self._positions = lru_cache(maxsize=4 * _NEAR)(self._find_positions)
        self._parts = _Parts(self._sources, references)
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._ahead: deque[tuple[int, Phase, Future[Batch]]] = deque()
        self.wait_seconds = 0.0

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those of the recipe."""
        return self._config.kinds

    @property
    def sequence_tokens(self) -> int:
        """Length of a packed sequence."""
        return self._config.batch.sequence_tokens

    def identity(self) -> dict[str, Any]:
        """What samples depend on; two that are equal give the same ones, and the same prompts."""
        sets = {source.url: source.identity() for source in self._sources}
        task = {"task": self.asker.identity} if self.asker else {}
        return {"seed": self._config.seed, "sets": sets, **task}

    def batch(self, first: int, phase: Phase) -> Batch:
        """This rank's share of the `batch.samples` samples from number `first` on."""
        begun = time.perf_counter()
        if not self._ahead or self._ahead[0][:2] != (first, phase):
            self._forget()
        for number in range(len(self._ahead), _READY + 1):
            start = first + number * self._config.batch.samples
            self._ahead.append((start, phase, self._maker.submit(self._make, start, phase)))
        batch = self._ahead.popleft()[2].result()
        self.wait_seconds = time.perf_counter() - begun
        return batch

    def laid_out(self, first: int, phase: Phase) -> LaidOut:
        """The same samples as trees; for a caller that adds candidates before `pack`."""
        self._forget()
        return self._maker.submit(self._lay_out, first, phase).result()

    def pack(self, laid: LaidOut, trees: Iterable[Tree], counts: Counter[str]) -> Batch:
        """A batch of `trees`, which were made of those of `laid`."""
        rows = pack([*trees], self._config.batch.sequence_tokens, self._config.kinds)
        used = sum(row.used for row in rows)
        padding = sum(len(row.tokens_S) for row in rows) - used
        return Batch(laid.first, laid.stop, tuple(rows), dict(counts), used, padding, laid.shares)

    def learnable(self, phase: Phase) -> Counter[str]:
        """What a phase without rollouts finds in the rows: `train.data.learnable`."""
        return learnable(self._sources, phase)

    def stored(self) -> Iterator[tuple[str, str, Iterator[PackedSequence]]]:
        """(URL of the set, name of the part, rows) of this rank's parts, in storage order.

        Each rank has every `ranks`-th part whole. The rows hold every text of all chunks that pass
        `train.data`'s filters, with the prefix that `batch` gives it, once.
        """
        every = [(s, number) for s in self._sources for number in range(len(s.files))]
        for source, number in every[self._rank :: self._ranks]:
            part = source.load(number, None)
            yield source.url, references_file(source.files[number]), self._stored_rows(part)

    def _stored_rows(self, part: PartSamples) -> Iterator[PackedSequence]:
        size = self._config.batch.samples
        for first in range(0, len(part), size):
            numbers = range(first, min(first + size, len(part)))
            trees, _ = self._trees([part.span(n, n, None) for n in numbers])
            every = [tree for some in trees for tree in some]
            rows = pack(every, self._config.batch.sequence_tokens, self._config.kinds)
            yield from (row for row in rows if row.used)

    def close(self) -> None:
        """End the threads."""
        self._forget()
        self._maker.shutdown()
        self._parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _forget(self) -> None:
        """Drop what was made ahead; a batch that is being made is finished for nothing."""
        while self._ahead:
            self._ahead.popleft()[2].cancel()

    def _make(self, first: int, phase: Phase) -> Batch:
        """The batch; runs in the one thread that makes batches."""
        laid = self._lay_out(first, phase)
        return self.pack(laid, chain.from_iterable(laid.trees), laid.counts)

    def _lay_out(self, first: int, phase: Phase) -> LaidOut:
        """The trees; runs in that thread, too."""
        spans, shares = self._share(first, phase)
        stop = first + self._config.batch.samples
        if self.asker:
            asked = self._prompted(self.asker, phase)
            trees = [asked.trees(span) for span in spans]
            laid = LaidOut(first, stop, tuple(spans), tuple(trees), asked.counts, shares)
            return replace(laid, prompts=tuple(asked.prompts))
        trees, counts = self._trees(spans)
        return LaidOut(first, stop, tuple(spans), tuple(trees), counts, shares)

    def _prompted(self, asker: Asker, phase: Phase) -> PromptedTrees:
        room = self._config.rollouts.tokens if self._config.rollouts else 1
        return PromptedTrees(asker, self._config.batch.max_seq_len, room, phase)

    def _share(self, first: int, phase: Phase) -> tuple[list[DocumentSpan], Shares]:
        """This rank's spans of the samples from `first` on, and everybody's samples."""
        samples = self._config.batch.samples
        near = [self._positions(first + number * samples) for number in range(_NEAR)]
        windows = dict.fromkeys((p.set, p.window) for positions in near for p in positions)
        self._parts.hold(
            dict.fromkeys((s, part) for s, w in windows for part in self._order.sets[s].parts(w))
        )
        positions = [(self._parts.part(position), position.span) for position in near[0]]
        costs = [part.cost(span, phase) for part, span in positions]
        shares = share_out(costs, self._ranks)
        mine = [positions[n][0].span(positions[n][1], first + n, phase) for n in shares[self._rank]]
        return mine, tuple(tuple(first + n for n in numbers) for numbers in shares)

    def _trees(self, spans: Sequence[DocumentSpan]) -> tuple[list[list[Tree]], Counter[str]]:
        """The trees of each span, and what became of them."""
        config = self._config
        builder = TreeBuilder(self.texts, self._bos, self._eos, config.batch, config.kinds)
        self.texts.prepare(text for span in spans for text in span.texts())
        return [builder.trees(span) for span in spans], builder.counts

    def _find_positions(self, first: int) -> list[SamplePosition]:
        return [self._order.position(first + n) for n in range(self._config.batch.samples)]


class _Parts:
    """Parts in memory, read in threads; used by one thread."""

    def __init__(self, sources: Sequence[TrainingSet], references: References | None) -> None:
        self._sources, self._references = sources, references
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="parts")
        self._held: dict[tuple[int, int], Future[PartSamples]] = {}

    def hold(self, wanted: Iterable[tuple[int, int]]) -> None:
        """Keep or start to read the `wanted` (set, part), first things first; drop all others."""
        held = {}
        for key in wanted:
            held[key] = self._held.get(key) or self._pool.submit(self._load, *key)
        for key in self._held.keys() - held.keys():
            self._held[key].cancel()
        self._held = held

    def part(self, position: SamplePosition) -> PartSamples:
        """The part of a place; it is held."""
        return self._held[position.set, position.part].result()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _load(self, number: int, part: int) -> PartSamples:
        return self._sources[number].load(part, self._references)


def _counts(
    sources: Sequence[TrainingSet], phases: Sequence[Phase], cache: Folder
) -> list[list[int]]:
    """Samples in each part of each set; ConfigError when a phase's filter leaves none at all."""
    counts = [source.counts(cache) for source in sources]
    for number, phase in enumerate(phases):
        if phase.filter and not sum(source.passing(phase, cache) for source in sources):
            raise ConfigError(
                f"train.curriculum.{number}.filter: no row that train.data takes passes "
                f"`{phase.filter}`"
            )
    return counts


def _order(sources: Sequence[TrainingSet], counts: Sequence[Sequence[int]], seed: int) -> Order:
    sets = [
        Epochs(count, [file.rows for file in source.files], (seed, number))
        for number, (source, count) in enumerate(zip(sources, counts, strict=True))
    ]
    return Order(sets, [source.weight for source in sources], seed)


def share_out(costs: Sequence[int], ranks: int) -> list[list[int]]:
    """The numbers of `costs` for each rank: the next biggest to the rank with the least so far.

    No rank then has more than the mean and one item; equal ones go to the first rank.
    """
    shares = [list[int]() for _ in range(ranks)]
    loads = [(0, rank) for rank in range(ranks)]
    for number in sorted(range(len(costs)), key=lambda number: -costs[number]):
        load, rank = loads[0]
        shares[rank].append(number)
        heapq.heapreplace(loads, (load + costs[number], rank))
    return [sorted(share) for share in shares]

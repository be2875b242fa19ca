"""Prompted tasks: a row of a set is a sample, its prompt a trunk, answers to it branches.

The rows of its document come with it, for a prompt depends on them: the context before the chunk,
and tags that no text of the document holds.

Guarantee: a row that the passes ask nothing about (`skipped`), whose prompt leaves no room for an
answer, or that has no label, is left out and counted.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from prewrite.judge.pool import Pool
from prewrite.train.config.phases import Phase
from prewrite.train.data.samples import AskedRow, DocumentSpan
from prewrite.train.data.trees import Candidate, Tree

SKIPPED = "skipped"
"""Status of a row that is context, white space, or was not drawn."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the answer to a prompt is weighed against, as far as it is known beforehand.

    kind: of row, as metrics call it. fence, begun: of the prompt, see `prompts.rewriting`. copies:
    whether the text is to be copied. label: the value 0..1 of the right verdict on `criterion`.
    """

    kind: str
    fence: str = ""
    begun: str = ""
    copies: bool = False
    criterion: str = ""
    label: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as token ids, the texts it speaks of, and what is wanted."""

    tokens: tuple[int, ...]
    pool: Pool
    wanted: Wanted


class Asker(Protocol):
    """A prompted task, as the loader sees it. end: the token that ends an answer. identity: what
    prompts depend on beside the recipe's values and the sets, files that it names included.
    """

    end: int
    identity: dict[str, Any]

    def __call__(self, asked: AskedRow) -> list[Asked]:
        """The prompts of a row, which are one group; none where it has no label."""
        ...

    def answer(self, asked: Asked, text: str) -> tuple[int, ...]:
        """The token ids of a stored text as the answer, without its end."""
        ...


class PromptedTrees:
    """Makes trees of rows; `counts` says what became of them. room: of an answer, in tokens.
    prompts: of each row so far, none of one that is left out.
    """

    def __init__(self, asker: Asker, longest: int, room: int, phase: Phase) -> None:
        self._asker, self._longest, self._room, self._phase = asker, longest, room, phase
        self.counts: Counter[str] = Counter()
        self.prompts: list[list[Asked]] = []

    def trees(self, span: DocumentSpan) -> list[Tree]:
        """One tree a prompt; in a phase without rollouts with the text that is learnt."""
        self.prompts.append([])
        assert span.asked, "the sets of a prompted task have rows of their own"
        self.counts["samples"] += 1
        if not span.chunks[0].learn or span.asked.row["rewrite_status"] == SKIPPED:
            self.counts["context_only"] += 1
            return []
        prompts = self._asker(span.asked)
        trees = [self._tree(span, one) for one in prompts]
        if why := self._unusable(trees):
            self.counts[why] += 1
            return []
        self.counts["cut_points"] += 1  # what is learnt of a row is one group
        self.counts["trees"] += len(trees)
        self.prompts[-1] = prompts
        return trees

    def _tree(self, span: DocumentSpan, asked: Asked) -> Tree:
        trunk = np.array(asked.tokens, np.int32)
        return Tree(span.sample, trunk, self._learnt(span, asked), whole=True)

    def _learnt(self, span: DocumentSpan, asked: Asked) -> tuple[Candidate, ...]:
        """The stored texts that a phase without rollouts learns as the answer."""
        (chunk,), cut = span.chunks, len(asked.tokens)
        found = []
        for kind, text in enumerate(chunk.texts if not self._phase.online else ()):
            if kind in chunk.learn and text is not None:
                tokens = np.array([*self._asker.answer(asked, text), self._asker.end], np.int32)
                found.append(Candidate(chunk.id, kind, cut, tokens, on_trunk=False))
        return tuple(found)

    def _unusable(self, trees: Sequence[Tree]) -> str | None:
        """Why nothing can be learnt of a row."""
        if not trees:
            return "no_label"
        if not self._phase.online and not any(tree.candidates for tree in trees):
            return "no_rewrite"
        answers = [len(c.tokens) for tree in trees for c in tree.candidates] or [self._room]
        longest = max(len(tree.trunk) for tree in trees) + max(answers)
        return "too_long" if longest > self._longest else None

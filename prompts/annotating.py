"""What a model is asked about thoughts for a chunk, and what its answer is worth.

It never copies text: the sentences of the chunk are numbered, it answers lines `k: thought`, and
the thoughts are put in here. So the rewrite without its thoughts is the chunk, whatever it says.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from prewrite.engine.types import FinishReason
from prewrite.prompts.checks import Checked, bare, fault_of
from prewrite.prompts.config import RewriteConfig, ThoughtsConfig
from prewrite.prompts.rewriting import Rewriting
from prewrite.prompts.text import is_refusal
from prewrite.prompts.thoughts import has_markers, insert, is_generic, leak, sentences
from prewrite.shards.schema import Row

_LINE = re.compile(r"\s*[\[(*]{0,3}(\d{1,4})[\])*:.]{1,4}\s+(\S.*)")
"""`3: thought`, also as models like to write it: `[3] thought`, `**3.** thought`."""

_TOKENS = 96
"""Of a thought, where the recipe says nothing; most have fewer."""


class Annotating(Rewriting):
    """Requests and checks of thoughts for chunks; see `Rewriting`."""

    def fence(self, rows: Sequence[Row]) -> str:
        """The fence of a document's prompts, with its numbered sentences."""
        texts = [row["original"] for row in rows]
        return self.template.fence(["".join(texts), *map(numbered, texts)])

    def unasked(self, original: str) -> str | None:
        """Why a chunk is left alone: markers of its own, or no place between two sentences."""
        if has_markers(original):
            return "own_markers"
        return None if len(sentences(original)) > 1 else "one_sentence"

    def _shown(self, original: str) -> dict[str, str]:
        return {"text": numbered(original), "most": str(self.config.thoughts.most)}

    def _longest(self) -> int:
        return _TOKENS * self.config.thoughts.most

    def _check(self, original: str, answer: str, finish: FinishReason, repeats: bool) -> Checked:
        """The chunk with the thoughts of an answer that are good, or why there is none."""
        text = bare(answer)
        if fault := fault_of(original, text, finish, repeats):
            return fault
        reader = _AnswerReader(sentences(original), self.config.thoughts)
        *lines, last = [line for line in text.split("\n") if line.strip()]
        for line in lines:
            reader.add(line)
        if finish == "length":
            reader.dropped.append("thought_cut")
        else:
            reader.add(last)
        if not reader.kept:
            return Checked("failed", reason=Counter(reader.dropped).most_common(1)[0][0])
        return Checked("ok", insert(reader.pieces, reader.kept), dropped=tuple(reader.dropped))


@dataclass
class _AnswerReader:
    """Reads an answer line by line. kept: thoughts by the number of sentences before them; dropped:
    why each other line is none of them; last: the number of the last one.
    """

    pieces: Sequence[str]
    config: ThoughtsConfig
    kept: dict[int, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    last: int = 0

    def add(self, line: str) -> None:
        """Read one more line."""
        found = _LINE.fullmatch(line)
        number, thought = (int(found[1]), found[2].strip()) if found else (0, "")
        fault = self._misplaced(number) if found else "thought_form"
        if fault is None:
            self.last = number
            fault = self._unfit(number, thought)
        if fault is None:
            self.kept[number] = thought
        else:
            self.dropped.append(fault)

    def _misplaced(self, number: int) -> str | None:
        if not 0 < number < len(self.pieces):
            return "thought_place"
        if number <= self.last:
            return "thought_order"
        return "thought_over" if len(self.kept) == self.config.most else None

    def _unfit(self, number: int, thought: str) -> str | None:
        if has_markers(thought):
            return "thought_marker"
        if is_generic(thought) or is_refusal(thought):
            return "thought_generic"
        if thought in self.kept.values():
            return "thought_repeated"
        before, after = "".join(self.pieces[:number]), "".join(self.pieces[number:])
        return "thought_leak" if leak(thought, before, after) > self.config.leak else None


def rewriting_of(config: RewriteConfig, tokens: int, primes: bool) -> Rewriting:
    """The requests and checks of a rewrite, by its form; see `Rewriting`."""
    return (Annotating if config.form == "thoughts" else Rewriting)(config, tokens, primes)


def numbered(original: str) -> str:
    """The sentences of a chunk as a prompt shows them, one a line."""
    lines = enumerate(sentences(original), 1)
    return "\n".join(f"[{number}] {sentence.strip()}" for number, sentence in lines)

"""Thoughts inside a text: where they may stand, how they stand there, and what is wrong with one.

A thought stands between two sentences as ` <think> thought</think>`, with spaces of its own:
`One. <think> Why?</think> Two.` The white space between the sentences belongs to the second. So the
text without its thoughts is the text to the byte, thoughts change no token of it in tokenizers that
join a space with the word behind it, and a text that ends with the opening marker ends with a
token.

A sentence ends at a mark such as `.`, or at the end of a line, unless a small letter follows. Where
that is wrong, as behind a rare abbreviation, a thought may stand at an odd place, and no more.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from prewrite.engine.reasoning import has_tags
from prewrite.prompts.lookalikes import as_read
from prewrite.prompts.text import content_words, words_of
from prewrite.shards.thoughts import MARKERS, parted

OPEN, CLOSE = f" {MARKERS[0]}", MARKERS[1]
"""What stands before a thought, with its space, and behind it."""

_GRAM, _RUN, _FEWEST = 4, 12, 4
"""Words of a sequence; how many sequences and numbers in a row are looked at for a leak, and as how
many fewer ones count, so that a single number that was worked out is no leak.
"""

_CLOSING = "[\"'”’»)\\]」』）]*"
_END = re.compile(
    rf"[.!?…]+{_CLOSING}(?=\s)|[。！？｡]+{_CLOSING}|(?<=\S)(?=[^\S\n]*\n)",  # noqa: RUF001
)
_NO_END = re.compile(
    r"(?:(?:^|[^\w.])(?:\w|Mr|Mrs|Ms|Dr|Prof|St|Fig|No|Eq|vs|cf|(?:\w\.)+\w)|(?:^|\n)\s*\d+)\.\Z"
)
"""An initial, a short form or the number of an item: its full stop ends no sentence."""

_WORD, _INK, _BLANK_LINE = re.compile(r"\w"), re.compile(r"\S"), re.compile(r"\s*\n\s*\n")

_ANYWHERE = """
    about author careful carefully come comes coming consider considering context continue continues
    describe describes detail details discuss discusses expect expected expects explain explains
    first follow following follows further go goes going hmm i'll i'm i've idea important
    information interesting it's know knowing let let's likely look make makes maybe mention
    mentions need needed needs next okay paragraph part passage perhaps point probably reader recall
    reflect remember remembering said say saying says see sense sentence sentences something step
    steps subject sure talk talks tell tells text that's then thing things think thinking thought
    thoughts topic understand want well what's wonder write writer writes"""
_STOCK = frozenset(_ANYWHERE.split())
"""Words of a thought that would fit anywhere, beside those that say little in any text."""


class Segment(NamedTuple):
    """A thought, and all of the text before and after it without any thoughts."""

    before: str
    thought: str
    after: str


def sentences(text: str) -> list[str]:
    """The sentences of a text; joined they are the text. Each has a letter or a digit, unless the
    text has none, which is then one sentence; an empty text has no sentence.
    """
    found, begun = list[str](), 0
    for end in _ends(text):
        word = _WORD.search(text, begun, end)
        if word:
            found.append(text[begun:end])
            begun = end
    if begun < len(text):
        rest = text[begun:]
        if found and not _WORD.search(rest):
            found[-1] += rest
        else:
            found.append(rest)
    return found


def _ends(text: str) -> Iterator[int]:
    """Where sentences may end, in order."""
    for mark in _END.finditer(text):
        end = mark.end()
        following = _INK.search(text, end)
        if following is None:
            return
        goes_on = following[0].islower() and not _BLANK_LINE.match(text, end)
        if not goes_on and not _NO_END.search(text[max(0, end - 12) : end]):
            yield end


def has_markers(text: str) -> bool:
    """Whether a text has a marker of thoughts, or what a reader takes for one: tags as models put
    them around their reasoning, in whatever letters.
    """
    return has_tags(text) or has_tags(as_read(text))


def insert(pieces: Sequence[str], thoughts: Mapping[int, str]) -> str:
    """The text of `pieces` with thoughts in it. thoughts: by the number of pieces that stand before
    it. ValueError where one would stand outside, or where markers are in a piece or a thought.
    """
    if wrong := [number for number in thoughts if not 0 <= number <= len(pieces)]:
        raise ValueError(f"a thought behind piece {wrong[0]} of {len(pieces)}")
    texts = ("".join(pieces), *thoughts.values())
    if any(marker in text for text in texts for marker in MARKERS):
        raise ValueError(f"{' or '.join(MARKERS)} in a piece or a thought")
    found = list[str]()
    for number in range(len(pieces) + 1):
        found += pieces[number - 1 : number] if number else []
        found += [f"{OPEN} {thoughts[number]}{CLOSE}"] if number in thoughts else []
    return "".join(found)


def strip(text: str) -> str:
    """A text without its thoughts, as `insert` was given it; ValueError as `segments`."""
    return "".join(parted(text)[::2])


def segments(text: str) -> list[Segment]:
    """The thoughts of a text in order, each with the text around it; ValueError where a marker
    lacks its other one.
    """
    parts = parted(text)
    return [
        Segment("".join(parts[:at:2]), parts[at], "".join(parts[at + 1 :: 2]))
        for at in range(1, len(parts), 2)
    ]


def leak(thought: str, before: str, after: str) -> float:
    """How far a thought gives away the text that follows it, 0..1: of any twelve four-word
    sequences and numbers in a row in `after`, without those that stand in `before`, the largest
    share that stands in the thought. So of a long text a copied clause is found, too. Of fewer than
    twelve it is a share of all, of fewer than four a share of four.
    """
    known, said = set(_items(before)), set(_items(thought))
    hits = [item in said for item in _items(after) if item not in known]
    runs = (sum(hits[at : at + _RUN]) for at in range(max(1, len(hits) - _RUN + 1)))
    return max(runs) / max(_FEWEST, min(_RUN, len(hits)))


def _items(text: str) -> Iterator[tuple[str, ...]]:
    """The sequences of four words and the numbers of a text, in its order."""
    found = [word.casefold() for word in words_of(text) if any(map(str.isalnum, word))]
    for at, word in enumerate(found):
        if any(map(str.isdigit, word)):
            yield (word,)
        if at + _GRAM <= len(found):
            yield tuple(found[at : at + _GRAM])


def is_generic(thought: str) -> bool:
    """Whether a thought would fit anywhere: it has no word but those that say little in English.
    One of another language is never found to be.
    """
    return all(word in _STOCK for word in content_words(thought))

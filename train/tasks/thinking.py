"""The task `think`: the text before a thought and the opening marker, and what comes back.

The places of thoughts are those of the augmented text; what stands in it as a thought is never
shown. Trainer and engine see text tokenised as documents are, so the prompt continues what a phase
of next-token loss on augmented text has taught.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from prewrite.engine.encoding import PromptEncoder
from prewrite.engine.tokenizer import PlainTokenizer, continuation
from prewrite.judge.pool import Pool
from prewrite.prompts.context import contexts
from prewrite.prompts.thoughts import CLOSE, OPEN, Segment, segments
from prewrite.shards.schema import USABLE, Row
from prewrite.shards.thoughts import MARKERS
from prewrite.train.config.task import ThinkTask
from prewrite.train.data.prompted import Asked, Wanted
from prewrite.train.data.samples import AskedRow
from prewrite.train.messages import Metrics, Rollout, RolloutPrompt, rollout_name, seed_of

THOUGHT = "thought"
"""The kind of every row, as metrics call it."""

THOUGHT_TOKENS = "thought_tokens"
"""What `values` call the length of a thought."""

FORMS = ("no_close", "second_marker", "no_continuation")
"""Why the form of a rollout can be wrong."""

_CHARACTERS = 32  # of a token, at most, as a rule; a longer one makes the true text shorter


class ThinkAsker:
    """Makes the prompt of a row; see `train.data.prompted.Asker`. seed: of the run; with the
    sample's number it draws which thought's place is asked about.
    """

    def __init__(self, task: ThinkTask, encoder: PromptEncoder, end: int, seed: int) -> None:
        self.end, self._task, self._encoder, self._seed = end, task, encoder, seed
        self.identity = {"end": end, "markers": [OPEN, CLOSE]}

    def __call__(self, asked: AskedRow) -> list[Asked]:
        """Its one prompt; none where there is no thought with text after it."""
        row = asked.row
        after = "".join(one["original"] for one in asked.document[row["chunk"] + 1 :])
        places = places_of(row, self._task.text, after)
        if not places:
            return []
        place = places[seed_of(self._seed, (asked.sample, row["id"])) % len(places)]
        context = contexts(asked.document, self._task.max_context_tokens)[row["chunk"]]
        passed = sum(len(one["original"]) for one in asked.document[: row["chunk"]])
        begins = sum(map(len, context)) == passed
        before, tokens = self._encoder.plain(context, place.before + OPEN, begins=begins)
        # The marker is no part of what a judge reads.
        prompt = (*before, *tokens)
        true = self._true(prompt, place.after + after)
        return [Asked(prompt, Pool(row["id"], (*context, place.before), true, {}), Wanted(THOUGHT))]

    def answer(self, asked: Asked, text: str) -> tuple[int, ...]:
        """The token ids of a text after the marker."""
        return self._encoder.words(text)

    def _true(self, prompt: Sequence[int], text: str) -> str:
        """How the text goes on after the prompt, as far as it is compared."""
        most = self._task.suffix
        tokens = self._encoder.words(text[: most * _CHARACTERS])[:most]
        return whole(self._encoder.continuation(prompt, tokens))


def places_of(row: Row, text: str, after: str) -> list[Segment]:
    """The thoughts of a row at which its document goes on; none where its markers are not paired,
    which no rewrite pass writes. after: the text of the document after the row.
    """
    if row[f"{text}_status"] not in USABLE or row[text] is None:
        return []
    try:
        return [one for one in segments(row[text]) if (one.after + after).strip()]
    except ValueError:
        return []


@dataclass(frozen=True)
class Thought:
    """A rollout as far as it is compared and learnt. thought: what stands before the closing
    marker, of `length` tokens with it; text: what stands after it; failed: why it is of no use, one
    of `FORMS`, or None.
    """

    kept: Rollout
    thought: str
    length: int
    text: str
    failed: str | None


def read(
    tokenizer: PlainTokenizer, prompt: RolloutPrompt, rollout: Rollout, suffix: int
) -> Thought:
    """The thought of a rollout and the `suffix` tokens after its closing marker."""
    own = rollout.tokens[:-1] if rollout.ended else rollout.tokens

    def said(count: int) -> str:
        return continuation(tokenizer, prompt.tokens, own[:count])

    if CLOSE not in rollout.text:
        return Thought(rollout, rollout.text, len(own), "", "no_close")
    low, high = 1, len(own)  # the first tokens that hold the marker
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if CLOSE in said(middle) else (middle + 1, high)
    kept = rollout
    if low + suffix < len(own):
        text, count = said(low + suffix), low + suffix
        logprobs = rollout.logprobs[:count]
        kept = Rollout(text=text, tokens=own[:count], logprobs=logprobs, ended=False)
    thought, _, text = kept.text.partition(CLOSE)
    return Thought(kept, thought, low, whole(text), _wrong(thought, text))


def _wrong(thought: str, text: str) -> str | None:
    """Why a thought and what follows it have the wrong form."""
    if any(one in text for one in MARKERS) or MARKERS[0] in thought:
        return "second_marker"
    return None if text.strip() else "no_continuation"


def whole(text: str) -> str:
    """Without the piece of a character at its end, where tokens end within one."""
    return text.rstrip("\N{REPLACEMENT CHARACTER}")


def measured(found: Sequence[Thought]) -> dict[str, Metrics]:
    """What is known of each rollout beside its score: tokens before the end of its thought."""
    lengths = {rollout_name(n): float(one.length) for n, one in enumerate(found)}
    return {THOUGHT_TOKENS: lengths}


def forms(found: Sequence[Thought]) -> Counter[str]:
    """How many thoughts have the wrong form, by reason."""
    return Counter(f"form:{one.failed}" for one in found if one.failed)

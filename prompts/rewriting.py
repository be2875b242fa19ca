"""What a model is asked to rewrite a chunk, and what its answer is worth."""

import hashlib
from collections.abc import Sequence
from math import ceil

from prewrite.engine.reasoning import spoken
from prewrite.engine.types import Completion, FinishReason, Prompt, Request, Sampling
from prewrite.prompts.checks import Checked, check
from prewrite.prompts.config import RewriteConfig
from prewrite.prompts.context import lead
from prewrite.prompts.load import length_of, load_template
from prewrite.shards.schema import Row


class Rewriting:
    """Requests and checks of one rewrite configuration. tokens: longest chunk. primes: whether the
    engine begins the answer with the last words before the chunk.
    """

    def __init__(self, config: RewriteConfig, tokens: int, primes: bool) -> None:
        self.config, self.tokens, self.primes = config, tokens, primes
        self.template, self.seed = load_template(config.template), config.sampling.seed
        self.length = length_of(config, self.template)

    def fence(self, rows: Sequence[Row]) -> str:
        """The fence of a document's prompts. Joined: two chunks may spell a tag between them."""
        return self.template.fence(["".join(row["original"] for row in rows)])

    def unasked(self, original: str) -> str | None:
        """Why a chunk is left alone; None: it is asked about."""
        return None

    def request(self, row: Row, context: Sequence[str], fence: str) -> Request:
        """What is asked about one chunk. context: the pieces of text before it."""
        begin = lead(context) if self.primes and self.template.continues else ""
        texts = {"context": context, "lead": begin} | self._shown(row["original"])
        pieces, system = self.template.render(texts, fence), self.template.system
        prompt = Prompt(pieces, answer=begin.rstrip(), system=system)
        return Request(prompt, self._sampling(row, fence))

    def checked(
        self, original: str, request: Request, completion: Completion, fence: str
    ) -> Checked:
        """The rewrite in an answer to `request`, or why there is none."""
        if completion.error is not None:
            return Checked("failed", reason=f"engine: {completion.error}")
        sample = completion.samples[0]
        return self.read(original, request.prompt.answer, sample.text, sample.finish_reason, fence)

    def read(
        self, original: str, begun: str, text: str, finish: FinishReason, fence: str
    ) -> Checked:
        """The rewrite in the answer `text`, or why there is none. begun: what the prompt has begun
        the answer with.
        """
        said = spoken(text, original)
        if said is None:
            return Checked("failed", reason="only_reasoning")
        # An endpoint that ignores the primed answer says its words again.
        whole = said.lstrip().removeprefix(begun.strip() or "\0")
        answer = self.template.before_tags(whole, fence)
        if finish == "length" and len(answer) < len(whole):  # it went on behind its end
            finish = "stop"
        bare = self.template.without_labels(answer)
        if bare != answer and self.template.without_labels(original) == original:
            answer = bare
        if whole and not answer.strip():
            return Checked("failed", reason="leaked_tags")  # and nothing before them
        # An original may speak of prompts, and then so may its rewrite.
        repeats = self.template.repeated(answer) and not self.template.repeated(original)
        return self._check(original, answer, finish, repeats)

    def copied(self, original: str, text: str, fence: str) -> bool:
        """Whether the answer `text` is the original to the byte, up to the white space around it,
        the reasoning before it and what stands behind a closing tag.
        """
        said = spoken(text, original)
        if said is None:
            return False
        return self.template.before_tags(said, fence).strip() == original.strip()

    def _shown(self, original: str) -> dict[str, str]:
        """The variables of the template that tell of a chunk."""
        return {"text": original}

    def _check(self, original: str, answer: str, finish: FinishReason, repeats: bool) -> Checked:
        """See `checks.check`."""
        return check(original, answer, finish, repeats, self.length, self.template.continues)

    def _longest(self) -> int:
        """Tokens of a rewrite: those of a chunk, times the longest length that a template's head
        names.
        """
        named = self.template.length.model_fields_set
        return ceil(self.tokens * max(1.0, self.template.length.max)) if named else self.tokens

    def _sampling(self, row: Row, fence: str) -> Sampling:
        config = self.config.sampling
        seed = hashlib.sha256(f"{self.seed}\0{row['id']}".encode()).digest()
        return Sampling(
            max_tokens=config.max_tokens or self._longest(),
            temperature=config.temperature,
            top_p=config.top_p,
            seed=int.from_bytes(seed[:4], "big") >> 1,
            stop=self.template.ends(fence),
        )

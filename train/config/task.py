"""The section `train.task`: what the policy is asked, and what its answers are worth."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from prewrite.base.config import Section, refuse
from prewrite.prompts.config import LengthConfig
from prewrite.train.config.phases import Stored


class ContinueTask(Section):
    """The policy continues a document; what competes at a cut point are its texts and rollouts."""

    kind: Literal["continue"] = Field("continue", description="documents are continued")


class RewriteTask(Section):
    """The policy rewrites a chunk: the prompt is, id for id, that of the rewrite pass.

    A rollout of the wrong form (empty, a refusal, tags or words of the prompt, a length that is not
    accepted, cut off) earns 0 without a question to the judge. Rows for which `copies` holds: a
    rollout earns 1 if it equals the chunk byte for byte, apart from the white space around it, else
    0. All other rows: a rollout earns the score that `train.rollouts.judge` gives it.
    """

    kind: Literal["rewrite"] = Field(description="chunks are rewritten")
    template: str = Field("quality", description="a shipped name, or the path of a `.jinja` file")
    copies: str | None = Field(
        None,
        description="rows for which this condition holds are to be copied exactly: "
        "`original_safety == 1`; null: none",
    )
    length: LengthConfig = Field(
        LengthConfig(), description="accepted lengths; a key left out is the template's"
    )
    max_context_tokens: int = Field(
        1920,
        ge=1,
        description="longest context in a prompt, in tokens of the chunking tokenizer; as "
        "`chunking.max_context_tokens` of the passes that the model is for",
    )


class JudgeTask(Section):
    """The policy judges texts of a scored set by reasoning: the prompt is, id for id, that of the
    judge pass, and the set's columns are the labels.

    A rollout earns 1 where its verdict, as the judge pass reads it, is the label, else 0; where the
    criterion asks for a number, 1 minus the distance of the two on the scale 0..1. Of a criterion
    that compares texts, original and rewrite are asked about in both orders, and the two are one
    group; the label is which of them has the higher score. Of any other the original is asked
    about, and the label is its score, which must be the value of a verdict.
    """

    kind: Literal["judge"] = Field(description="texts are judged, by `train.data.criterion`")
    max_context_tokens: int = Field(
        1920,
        ge=1,
        description="longest context in a prompt, in tokens of the chunking tokenizer; as "
        "`judge.max_context_tokens` of the passes that the model is for",
    )


class ThinkTask(Section):
    """The policy thinks where an augmented text has a thought, and goes on with the text.

    Each time that a row is read one of its thoughts is drawn, for its place alone. The prompt is
    the text before it, without earlier thoughts, and the opening marker; a rollout is a thought,
    one closing marker, and `suffix` tokens of the text as the policy sees it go on. What it wrote
    after those is neither compared nor learnt. A rollout of the wrong form (no closing marker, a
    second marker, nothing after it) earns no more than any other.

    `match`: the score of `train.rollouts.judge`, which compares those tokens with as many of the
    true text. `gain`: how much likelier the thought makes the true text under a frozen reference,
    in nats a byte; no judge is asked.
    """

    kind: Literal["think"] = Field(description="thoughts are written into a text that goes on")
    text: Stored = Field("rewrite", description="the text with thoughts")
    suffix: int = Field(
        128, ge=1, description="tokens after a thought that are compared, and learnt"
    )
    reward: Literal["match", "gain"] = Field(
        "match",
        description="the judge's score of what follows the thought; or the likelihood that the "
        "thought adds to the true text",
    )
    reference: str | None = Field(
        None,
        description="for `gain`: a name under `engines`, a model that tells the likelihood of a "
        "text; as a rule the one that training starts from",
    )
    max_context_tokens: int = Field(
        1920,
        ge=1,
        description="longest text before the chunk in a prompt, in tokens of the chunking "
        "tokenizer",
    )

    @model_validator(mode="after")
    def _likelihood_told(self) -> Self:
        if self.reward == "gain" and self.reference is None:
            raise refuse("reference: this key is required with reward gain")
        if self.reward == "match" and self.reference is not None:
            raise refuse(
                f"reference: found '{self.reference}'; accepted with reward match: no such key"
            )
        return self


PromptedTask = RewriteTask | JudgeTask | ThinkTask
Task = Annotated[ContinueTask | PromptedTask, Field(discriminator="kind")]

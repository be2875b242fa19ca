"""The section `rewrite`: how chunks are rewritten."""

from pydantic import Field, model_validator

from prewrite.base.config import Section


class RewriteSampling(Section):
    """How rewrites are sampled (arXiv 2601.21343: T = top_p = 0.6)."""

    temperature: float = Field(0.6, ge=0, description="sampling temperature; 0 is greedy")
    top_p: float = Field(0.6, gt=0, le=1, description="share of probability that is sampled from")
    max_tokens: int | None = Field(
        None, ge=1, description="longest rewrite, in tokens of the engine; null: `chunking.tokens`"
    )
    seed: int = Field(0, description="with a row's id, the seed of its request")


class LengthConfig(Section):
    """Accepted characters of a rewrite, as a ratio to those of the original."""

    min: float = Field(0.2, ge=0, description="smallest ratio")
    max: float = Field(3.0, gt=0, description="largest ratio")

    @model_validator(mode="after")
    def _in_order(self) -> "LengthConfig":
        if self.min > self.max:
            raise ValueError(f"a min not above the max of {self.max:g}")
        return self


class RewriteConfig(Section):
    """How chunks are rewritten."""

    engine: str = Field(description="a name under `engines`")
    template: str = Field(
        "quality",
        description="`quality`, `safety`, `cleanup`, `plain`, or the path of a `.jinja` file",
    )
    sampling: RewriteSampling = Field(RewriteSampling(), description="how rewrites are sampled")
    length: LengthConfig = Field(LengthConfig(), description="accepted lengths")

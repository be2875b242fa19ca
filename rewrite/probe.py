"""What each rewriter of a run is asked before it: one real rewrite by each of its templates.

An endpoint is refused whose answers are none: the request is refused, there is no text, or only
reasoning. Whether a text is good enough is not looked at: that is for the checks of each row.
"""

from collections.abc import Iterable
from functools import partial

from prewrite.base.secret import said
from prewrite.engine.config import EndpointConfig
from prewrite.engine.registry import First, probe
from prewrite.engine.types import Engine
from prewrite.judge.probe import PASSAGES
from prewrite.pipeline.passes import Document
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.rewriter import Rewriter

_NO_TEXT = ("no_text", "only_reasoning")
_QUOTED = 100  # characters of an answer


def probe_rewriters(recipe: RewriteRecipe, texts: Iterable[str]) -> None:
    """EngineError where a rewriter is an endpoint that is not there, or whose first answers hold
    no text; a model in this process is loaded next, and says itself what is wrong. texts: the
    rewrites that will be asked for.
    """
    by_text = recipe.by_text()
    for made in (by_text[text] for text in texts):
        config = recipe.engines[made.engine]
        one = recipe.model_copy(update={"rewrite": made})
        if isinstance(config, EndpointConfig):
            probe(config, [First("a rewrite", partial(_unusable, one))])


async def _unusable(recipe: RewriteRecipe, engine: Engine, number: int) -> str | None:
    """Why an answer is no rewrite, or None."""
    # Thoughts stand between sentences, so for them it takes several.
    several = any(made.form == "thoughts" for made in recipe.by_text().values())
    text = " ".join(old for old, _ in PASSAGES) if several else PASSAGES[number][0]
    row = {"id": f"probe-{number}", "original": text, "original_tokens": len(text.split())}
    row["rewrite_status"] = None
    engines = {made.engine: engine for made in recipe.by_text().values()}
    outcome = await Rewriter(engines, recipe)(Document([row], 0))
    for failure in outcome.failures:
        if failure.reason in _NO_TEXT:
            return f"{failure.reason}: '{said(failure.answer or '', _QUOTED)}'"
        if failure.reason.startswith("engine: "):
            return failure.reason
    return None

"""What completions cost, in the manifest's terms."""

from prewrite.engine.types import Completion
from prewrite.shards.manifest import Usage


def usage_of(*completions: Completion) -> Usage:
    """So many requests; a failed one counts as asked but cost nothing known."""
    cached = [one.cached_tokens for one in completions if one.cached_tokens is not None]
    return Usage(
        requests=len(completions),
        prompt_tokens=sum(one.prompt_tokens for one in completions),
        cached_tokens=sum(cached) if len(cached) == len(completions) else None,
        output_tokens=sum(one.output_tokens for one in completions),
        untold=sum(not one.tokens_told for one in completions),
    )

"""What a completion cost, in the manifest's terms."""

from prewrite.engine.types import Completion
from prewrite.shards.manifest import Usage


def usage_of(completion: Completion) -> Usage:
    """One request; a failed one counts as asked but cost nothing known."""
    return Usage(
        requests=1,
        prompt_tokens=completion.prompt_tokens,
        cached_tokens=completion.cached_tokens,
        output_tokens=completion.output_tokens,
        untold=0 if completion.tokens_told else 1,
    )

"""`prewrite rewrite` with an engine that takes its process along on one text, and loads slowly.

The real command in every other respect; vLLM dies like this when a kernel does. The environment
says what kills (DEADLY), whether only the engine dies of it (ENGINE_ONLY), as vLLM's own process
does, and how long a load takes (LOADING, seconds).
"""

import os
import signal
import sys
import time

from prewrite.base.errors import EngineDied
from prewrite.commands import main
from prewrite.engine import registry
from prewrite.engine.config import EndpointConfig, EngineConfig
from prewrite.engine.endpoint import EndpointEngine
from prewrite.engine.types import Completion, Engine, Request

DEADLY = os.environ.get("DEADLY", "")
LOADING = float(os.environ.get("LOADING", "0"))


class Deadly(EndpointEngine):
    """Answers as the endpoint does, until it is asked about the text."""

    async def complete(self, request: Request) -> Completion:
        if DEADLY and DEADLY in "".join(request.prompt.user):
            if "ENGINE_ONLY" in os.environ:
                raise EngineDied("the engine died")
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().complete(request)


def load(config: EngineConfig) -> Engine:
    if LOADING:
        print("loading", flush=True)
        time.sleep(LOADING)
    assert isinstance(config, EndpointConfig)
    return Deadly(config)


registry._load = load  # worker processes import this module anew, so they have it, too

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A proxy in front of an S3 server that fails now and then, the same way for the same seed.

`python -m tests.pipeline.faulty_store UPSTREAM PLAN LOG`. PLAN is a JSON file, read anew for each
request: `delay`, seconds before each answer; `seed`; `faults`, a list of `{kind, share, method,
path}` (both regular expressions); `after`: how many requests that match one pass first. LOG gets a
line of JSON a request. Kinds:

- `error`: 500, nothing reaches the store;
- `slow`: the answer comes after three seconds;
- `cut`: half of the answer, then the connection closes; of a PUT half is read, none stored;
- `lost`: the store does it, the answer never comes;
- `short`: half of the answer, which says that it is whole.
"""

import asyncio
import json
import random
import re
import sys
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web

_HOP = {"transfer-encoding", "connection", "content-length", "content-encoding"}
_ERROR = "<Error><Code>InternalError</Code><Message>an injected fault</Message></Error>"


class Proxy:
    """Hands requests on, unless the plan says otherwise."""

    def __init__(self, upstream: str, plan: Path, log: Path) -> None:
        self.upstream, self.plan, self.log = upstream, plan, log
        self.noise: random.Random | None = None
        self.matched, self.delay = 0, 0.0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        kind = self._fault(request.method, request.path_qs)
        with self.log.open("a") as stream:
            stream.write(json.dumps([request.method, request.path_qs, kind]) + "\n")
        if kind == "error":
            return web.Response(status=500, text=_ERROR, content_type="application/xml")
        await asyncio.sleep(3 if kind == "slow" else self.delay)
        if kind == "cut" and request.method == "PUT":
            await request.content.read(request.content_length // 2 if request.content_length else 1)
            return await self._hang_up(request)
        return await self._answer(request, kind)

    def _fault(self, method: str, path: str) -> str | None:
        plan: dict[str, Any] = json.loads(self.plan.read_text())
        self.delay = plan.get("delay", 0.0)
        self.noise = self.noise or random.Random(plan.get("seed", 0))
        for fault in plan.get("faults", []):
            if re.search(fault["method"], method) and re.search(fault["path"], path):
                self.matched += 1
                late = self.matched > plan.get("after", 0)
                if late and self.noise.random() < fault["share"]:
                    return str(fault["kind"])
        return None

    async def _answer(self, request: web.Request, kind: str | None) -> web.StreamResponse:
        body = await request.read()
        headers = {k: v for k, v in request.headers.items() if k.lower() != "transfer-encoding"}
        async with (
            ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, f"{self.upstream}{request.path_qs}", data=body, headers=headers
            ) as answer,
        ):
            data = await answer.read()
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP}
            status = answer.status
        if kind == "lost":
            return await self._hang_up(request)
        length = answer.headers.get("Content-Length", str(len(data)))
        if kind == "short":  # a range of an object comes without a checksum of the whole
            kept = {k: v for k, v in kept.items() if "checksum" not in k.lower()}
            data = data[: len(data) // 2]
            length = str(len(data))
        response = web.StreamResponse(status=status, headers=kept | {"Content-Length": length})
        await response.prepare(request)
        if request.method != "HEAD":
            await response.write(data[: len(data) // 2] if kind == "cut" else data)
        if kind == "cut":
            return await self._hang_up(request)
        await response.write_eof()
        return response

    async def _hang_up(self, request: web.Request) -> web.StreamResponse:
        if request.transport:
            request.transport.abort()
        raise asyncio.CancelledError


async def main(upstream: str, plan: str, log: str) -> None:
    """Serve until killed; says where on standard output."""
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", Proxy(upstream, Path(plan), Path(log)))
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""A real OpenAI-compatible server on 127.0.0.1 that fails on command.

It answers by echo: a rewrite is the passage of the prompt, a verdict comes from a fixed table. A
`plan` looks at every request and may name a fault for it. The server counts connections and open
requests, and numbers events, so that tests can compare orders instead of durations.
"""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from prewrite.judge.probe import PASSAGES

VERDICTS = {"A": -0.5, "B": -1.5, "C": -2.5, "1": -0.4, "2": -1.4}
"""Log-probability of every verdict token, whatever the question."""

_PASSAGE = re.compile(r"<(passage[^>]*)>(.*)</\1>", re.DOTALL)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer. seconds: wait first; body: instead of a completion; edit:
    changes the completion; cut: send only that many bytes of it, then close; trickle: seconds
    between two bytes; drop: close without an answer.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    body: bytes | None = None
    edit: Callable[[dict[str, Any]], object] | None = None
    cut: int | None = None
    trickle: float = 0.0
    drop: bool = False


@dataclass
class Call:
    """One request as the server saw it. number: from 0, by arrival; begun, ended: server clock."""

    number: int
    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    begun: float
    ended: float = 0.0

    @property
    def text(self) -> str:
        """What was asked: the user turn, or the token ids as words."""
        if "messages" in self.body:
            turns = self.body["messages"]
            return "".join(turn["content"] for turn in turns if turn["role"] == "user")
        return " ".join(map(str, self.body.get("prompt", [])))


Plan = Callable[[Call], Fault | None]


class FaultServer:
    """Serves until closed. `plan` may be replaced at any time; `calls` holds no /models requests,
    and not what is asked before a run: that is in `probes`, and meets `first` in place of `plan`.

    cached: prompt tokens it says it had cached; None: it does not say.
    """

    def __init__(self, plan: Plan | None = None, cached: int | None = None) -> None:
        self.plan, self.cached = plan, cached
        self.models: Fault | None = None
        self.first: Plan | None = None
        self.calls: list[Call] = []
        self.probes: list[Call] = []
        self.connections = self.open = self.most_open = 0
        self.sockets: set[socket.socket] = set()
        self.lock = threading.Lock()
        self._stop = threading.Event()
        self._http = _Http(self)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Die for good: refuse new connections, drop those there are, end every wait."""
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()
        with self.lock:
            for connection in self.sockets:
                _shut(connection)

    def wait(self, seconds: float) -> None:
        """Sleep, but not beyond `close`."""
        self._stop.wait(seconds)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, owner: FaultServer) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A dropped connection is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def setup(self) -> None:
        super().setup()
        owner = self.server.owner
        with owner.lock:
            owner.connections += 1
            owner.sockets.add(self.connection)

    def finish(self) -> None:
        with self.server.owner.lock:
            self.server.owner.sockets.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:  # noqa: N802
        self._send(self.server.owner.models or Fault(), {"object": "list", "data": []})

    def do_POST(self) -> None:  # noqa: N802
        owner = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with owner.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            call = Call(len(owner.calls), self.path, body, headers, time.monotonic())
            probe = any(text in call.text for pair in PASSAGES for text in pair)
            (owner.probes if probe else owner.calls).append(call)
            owner.open += 1
            owner.most_open = max(owner.most_open, owner.open)
        plan = owner.first if probe else owner.plan
        fault = (plan and plan(call)) or Fault()
        try:
            owner.wait(fault.seconds)
        finally:
            with owner.lock:
                owner.open -= 1
            call.ended = time.monotonic()
        answer = _completion(call, owner.cached)
        if fault.edit:
            fault.edit(answer)
        self._send(fault, answer)

    def _send(self, fault: Fault, answer: dict[str, Any]) -> None:
        if fault.drop:
            self._hang_up()
            return
        if fault.status != 200 and fault.body is None:
            answer = {"error": {"message": f"scripted {fault.status}", "type": "fault"}}
        data = json.dumps(answer).encode() if fault.body is None else fault.body
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        self.send_response(fault.status)
        for name, value in (headers | dict(fault.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        if fault.trickle:
            for byte in data:
                self.wfile.write(bytes([byte]))
                self.server.owner.wait(fault.trickle)
            return
        self.wfile.write(data[: fault.cut])
        if fault.cut is not None:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        _shut(self.connection)


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):  # the client was faster
        connection.shutdown(socket.SHUT_RDWR)


def _completion(call: Call, cached: int | None) -> dict[str, Any]:
    chat = call.path.endswith("/chat/completions")
    text = _reply(call)
    one = _chat_choice if chat else _text_choice
    choices = [one(call.body, index, text) for index in range(call.body.get("n") or 1)]
    usage: dict[str, Any] = {"prompt_tokens": 10, "completion_tokens": len(choices) * 4}
    usage["total_tokens"] = 10 + usage["completion_tokens"]
    if cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    kind = "chat.completion" if chat else "text_completion"
    head = {"id": "x", "object": kind, "created": 0, "model": call.body["model"]}
    return head | {"choices": choices, "usage": usage}


def _reply(call: Call) -> str:
    if call.body.get("max_tokens") == 1:
        return "A"
    found = _PASSAGE.findall(call.text)
    return str(found[-1][1]).upper() if found else f"echo {call.text}"


def _chat_choice(body: dict[str, Any], index: int, text: str) -> dict[str, Any]:
    logprobs = None
    if body.get("logprobs"):
        tops = [{"token": name, "logprob": value} for name, value in VERDICTS.items()]
        tops = tops[: body.get("top_logprobs") or 0]
        entry = {"token": text, "logprob": -0.5, "bytes": None, "top_logprobs": tops}
        logprobs = {"content": [entry], "refusal": None}
    message = {"role": "assistant", "content": text}
    return _choice(body, index, logprobs) | {"message": message}


def _text_choice(body: dict[str, Any], index: int, text: str) -> dict[str, Any]:
    logprobs = None
    if body.get("logprobs") is not None:
        tops = dict(list(VERDICTS.items())[: body["logprobs"]])
        entry = {"tokens": [text], "token_logprobs": [-0.5], "text_offset": [0]}
        logprobs = entry | {"top_logprobs": [tops]}
    return _choice(body, index, logprobs) | {"text": text}


def _choice(body: dict[str, Any], index: int, logprobs: dict[str, Any] | None) -> dict[str, Any]:
    choice = {"index": index, "logprobs": logprobs, "finish_reason": "stop"}
    return choice | ({"token_ids": [7]} if body.get("return_token_ids") else {})

"""EndpointEngine against a real server that fails in every way endpoints fail."""

import asyncio
import datetime
import gzip
import json
import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import ValidationError

from prewrite.base.config import load
from prewrite.base.errors import ConfigError, EngineError
from prewrite.engine.config import EndpointConfig
from prewrite.engine.encoding import PromptEncoder
from prewrite.engine.endpoint import EndpointEngine, retry_after
from prewrite.engine.types import Completion, Prompt, Request, Sampling
from prewrite.judge.config import JudgeSections
from prewrite.prompts.usage import usage_of
from tests.engine.fault_server import VERDICTS, Call, Fault, FaultServer

MODEL = Path("models/smollm2-135m-instruct")
Api = Literal["chat", "completions"]
APIS: tuple[Api, ...] = ("chat", "completions")


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once; Retry-After is still waited for."""
    monkeypatch.setattr("prewrite.engine.endpoint._backoff", lambda state: 0.0)


def config(*servers: FaultServer, api: Api = "chat", **changes: Any) -> EndpointConfig:
    urls = [server.url for server in servers]
    if api == "completions":
        changes["tokenizer"] = str(MODEL)
    return EndpointConfig(kind="endpoint", urls=urls, model="m", api=api, **changes)


def request(text: str = "hello", answer: str = "", **sampling: Any) -> Request:
    return Request(Prompt((text,), answer), Sampling(**{"max_tokens": 8} | sampling))


def ask(engine: EndpointEngine, *requests: Request) -> list[Completion]:
    """All answers; the first EngineError is raised."""

    async def run() -> list[Completion]:
        return await asyncio.gather(*map(engine.complete, requests))

    return asyncio.run(run())


def ask_each(engine: EndpointEngine, requests: Sequence[Request]) -> list[Any]:
    """An answer or an exception for each request."""

    async def run() -> list[Any]:
        return await asyncio.gather(*map(engine.complete, requests), return_exceptions=True)

    return asyncio.run(run())


def once(fault: Fault) -> Callable[[Call], Fault | None]:
    return lambda call: fault if call.number == 0 else None


def set_key(key: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda answer: answer.__setitem__(key, value)


def no_content(answer: dict[str, Any]) -> None:
    answer["choices"][0]["message"]["content"] = None


def one_sentence(error: EngineError) -> str:
    text = str(error)
    assert text and "\n" not in text and "Traceback" not in text
    return text


@pytest.mark.parametrize("api", APIS)
def test_answers_come_whole(server: FaultServer, api: Api) -> None:
    answers = ask(EndpointEngine(config(server, api=api)), request("one"), request("two"))
    texts = [answer.samples[0].text for answer in answers]
    assert [answer.error for answer in answers] == [None, None]
    assert (answers[0].prompt_tokens, answers[0].output_tokens) == (10, 4)
    assert answers[0].samples[0].finish_reason == "stop"
    assert len(set(texts)) == 2 and all(text.startswith("echo ") for text in texts)


def test_a_likelihood_needs_token_ids(server: FaultServer) -> None:
    engine = EndpointEngine(config(server))
    with pytest.raises(EngineError, match="api: chat cannot tell the likelihood") as error:
        asyncio.run(engine.likelihood(("context",), "text"))
    one_sentence(error.value)
    assert not server.calls


@pytest.mark.parametrize("rows", [None, [], [{"1": {"logprob": -1}}], "much"])
def test_a_server_that_tells_no_probabilities_of_a_prompt(server: FaultServer, rows: Any) -> None:
    def edit(answer: dict[str, Any]) -> None:
        answer["choices"][0]["prompt_logprobs"] = rows

    server.plan = lambda call: Fault(edit=edit)
    engine = EndpointEngine(config(server, api="completions", retries=1))
    with pytest.raises(EngineError, match="an answer (without prompt_logprobs|that is no compl)"):
        asyncio.run(engine.likelihood(("context",), "some text"))
    assert len(server.calls) == 2 + 1
    assert server.calls[0].body["prompt_logprobs"] == 0


def test_likelihoods_are_read_from_the_end_of_the_prompt(server: FaultServer) -> None:
    before, after = PromptEncoder(str(MODEL), {}).plain(("context",), "some text")

    def edit(answer: dict[str, Any]) -> None:
        rows = [{str(token): {"logprob": -float(i)}} for i, token in enumerate(before + after)]
        answer["choices"][0]["prompt_logprobs"] = [None, *rows[1:]]

    server.plan = lambda call: Fault(edit=edit)
    engine = EndpointEngine(config(server, api="completions"))
    (sample,) = asyncio.run(engine.likelihood(("context",), "some text")).samples
    assert sample.token_ids == tuple(after)
    assert sample.logprobs == tuple(-float(i + len(before)) for i in range(len(after)))
    assert server.calls[0].body["prompt"] == before + after


FAULTS = {
    "500": Fault(500),
    "503 in HTML": Fault(503, {"Content-Type": "text/html"}, body=b"<h1>busy</h1>"),
    "408": Fault(408),
    "409": Fault(409),
    "429": Fault(429),
    "429 at a date": Fault(429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "an error with 200": Fault(body=b'{"error": {"message": "quota for today is used up"}}'),
    "a stream": Fault(
        headers={"Content-Type": "text/event-stream"}, body=b"data: {}\n\ndata: [DONE]\n\n"
    ),
    "NaN": Fault(body=b'{"choices": NaN}'),
    "HTML with 200": Fault(headers={"Content-Type": "text/html"}, body=b"<html>hi</html>"),
    "HTML that says it is JSON": Fault(body=b"<html>hi</html>"),
    "half a JSON": Fault(body=b'{"choices": [{"index": 0, "mess'),
    "half a body": Fault(cut=40),
    "nothing": Fault(body=b""),
    "a JSON list": Fault(body=b"[1, 2]"),
    "null": Fault(body=b"null"),
    "no choices": Fault(edit=set_key("choices", [])),
    "null choices": Fault(edit=set_key("choices", None)),
    "null content": Fault(edit=no_content),
    "a dropped connection": Fault(drop=True),
    "a hang": Fault(seconds=30),
    "a trickle": Fault(trickle=0.2),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_one_fault_is_retried(server: FaultServer, fault: Fault) -> None:
    server.plan = once(fault)
    (answer,) = ask(EndpointEngine(config(server, timeout=1)), request())
    assert answer.error is None
    assert answer.samples[0].text == "echo hello"
    assert len(server.calls) == 2


ODD = {
    "two choices for one": lambda answer: answer["choices"].append({}),
    "usage is a word": set_key("usage", "much"),
    "no usage": lambda answer: answer.pop("usage"),
    "null usage": set_key("usage", None),
    "too much usage": set_key("usage", {"prompt_tokens": 1e308, "completion_tokens": -1}),
    "NaN beside it": set_key("seconds", math.nan),
    "usage of 400 digits": set_key("usage", {"prompt_tokens": 10**400, "completion_tokens": 4}),
    "end of another name": lambda answer: answer["choices"][0].update(finish_reason="eos_token"),
}


@pytest.mark.parametrize("edit", ODD.values(), ids=ODD)
def test_a_good_answer_is_used_whatever_stands_beside_it(server: FaultServer, edit: Any) -> None:
    server.plan = lambda call: Fault(edit=edit)
    (answer,) = ask(EndpointEngine(config(server)), request())
    assert answer.error is None and len(server.calls) == 1
    assert [sample.text for sample in answer.samples] == ["echo hello"]
    assert 0 <= answer.prompt_tokens <= 10 and 0 <= answer.output_tokens <= 4
    assert answer.tokens_told == (answer.prompt_tokens > 0)
    assert usage_of(answer).untold == (not answer.tokens_told)


def choice(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda answer: answer["choices"][0].update(changes)


def message(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda answer: answer["choices"][0]["message"].update(changes)


USELESS = {
    "finish_reason: found tool_calls; accepted: stop, length": choice(finish_reason="tool_calls"),
    "finish_reason: found None; accepted: stop, length": choice(finish_reason=None),
    "only reasoning and no text (finish_reason stop): Okay, so": message(
        content=None, reasoning_content="Okay, so"
    ),
    "an error in place of an answer: overloaded": choice(
        error={"message": "overloaded"}, finish_reason="stop"
    ),
    "no text (finish_reason length)": lambda answer: (
        choice(finish_reason="length")(answer),
        message(content=None)(answer),
    ),
}


@pytest.mark.parametrize(("said", "edit"), USELESS.items(), ids=USELESS)
def test_an_answer_of_no_use_fails_alone(server: FaultServer, said: str, edit: Any) -> None:
    server.plan = lambda call: Fault(edit=edit)
    (answer,) = ask(EndpointEngine(config(server)), request())
    assert answer.error == said and answer.samples == ()
    assert len(server.calls) == 1, "asking again would not help"


def test_the_servers_own_words_are_quoted(server: FaultServer) -> None:
    body = b'{"error": {"message": "quota for today is used up", "code": 429}}'
    server.plan = lambda call: Fault(body=body)
    with pytest.raises(EngineError, match="an error with HTTP 200: quota for today is used up"):
        ask(EndpointEngine(config(server, retries=0)), request())
    server.plan = lambda call: Fault(body=b"data: {}\n\ndata: [DONE]")
    with pytest.raises(EngineError, match=r"no completion: data: \{\} data: \[DONE\]"):
        ask(EndpointEngine(config(server, retries=0)), request())


def test_a_server_that_gives_one_choice_at_a_time(server: FaultServer) -> None:
    server.plan = lambda call: Fault(edit=lambda a: a.update(choices=a["choices"][:1]))
    (answer,) = ask(EndpointEngine(config(server)), request(n=3, seed=5))
    assert len(answer.samples) == 3 and len(server.calls) == 3
    asked = [(call.body["n"], call.body["seed"]) for call in server.calls]
    assert asked == [(3, 5), (2, 6), (1, 7)]


def test_a_filtered_answer_and_a_refusal_are_told(server: FaultServer) -> None:
    server.plan = lambda call: Fault(edit=choice(finish_reason="content_filter"))
    (answer,) = ask(EndpointEngine(config(server)), request())
    assert answer.samples[0].finish_reason == "filtered"
    server.plan = lambda call: Fault(edit=message(content=None, refusal="I cannot."))
    (answer,) = ask(EndpointEngine(config(server)), request())
    assert (answer.samples[0].text, answer.samples[0].finish_reason) == ("I cannot.", "refused")


def nothing_left(answer: dict[str, Any]) -> None:
    choice(finish_reason="content_filter", logprobs=None)(answer)
    message(content=None)(answer)


BY_CODE = json.dumps({"error": {"message": "filtered", "code": "content_filter"}}).encode()


@pytest.mark.parametrize("sampling", [{}, {"verdicts": ("A", "B")}])
@pytest.mark.parametrize("fault", [Fault(edit=nothing_left), Fault(400, body=BY_CODE)])
def test_a_filter_that_leaves_nothing(server: FaultServer, fault: Fault, sampling: Any) -> None:
    server.plan = lambda call: fault
    answers = ask(EndpointEngine(config(server)), *[request(**sampling)] * 20)
    assert {answer.error for answer in answers} == {None}
    assert {answer.samples[0].finish_reason for answer in answers} == {"filtered"}
    assert len(server.calls) == 20


def test_probabilities_that_are_more_than_one_together(server: FaultServer) -> None:
    def edit(answer: dict[str, Any]) -> None:
        for item in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            item["logprob"] = 0.0

    server.plan = lambda call: Fault(edit=edit)
    with pytest.raises(EngineError, match='found {"A": 0.0, "B": 0.0,.* among its log-prob'):
        ask(EndpointEngine(config(server, retries=0)), request(verdicts=("A", "B")))


@pytest.mark.parametrize("name", ["hex", "zlib", "idna", "undefined", "utf-16"])
def test_an_error_in_a_coding_that_is_none_of_texts(server: FaultServer, name: str) -> None:
    server.plan = lambda call: Fault(
        400, {"Content-Type": f"text/plain; charset={name}"}, body="größer".encode()
    )
    (answer,) = ask(EndpointEngine(config(server)), request())
    assert answer.error == "HTTP 400: größer"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"no such model", "no such model"),
        (b'{"error": "no such model"}', "no such model"),
        (b'{"detail": "no such model"}', '{"detail": "no such model"}'),
        (b"", "Error code: 400"),
    ],
)
def test_an_error_in_any_shape_is_quoted(server: FaultServer, body: bytes, said: str) -> None:
    server.plan = lambda call: Fault(400, body=body)
    (answer,) = ask(EndpointEngine(config(server)), request())
    assert answer.error == f"HTTP 400: {said}"


def test_of_a_redirects_body_the_beginning_is_read(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prewrite.engine.endpoint._LARGEST_ERROR", 1 << 10)
    server.plan = lambda call: Fault(302, {"Location": "/elsewhere"}, body=b"x" * 100 + b" " * 9999)
    (answer,) = ask(EndpointEngine(config(server, timeout=5)), request())
    assert str(answer.error).startswith("HTTP 302: xxx")
    server.plan = lambda call: Fault(302, {"Location": "/"}, body=b"x" * (1 << 20), cut=1 << 18)
    (answer,) = ask(EndpointEngine(config(server, timeout=5)), request())
    assert str(answer.error).startswith("HTTP 302: xxx"), "read to an end that never came"


NO_NUMBERS = [math.inf, -math.inf, math.nan, 1e308, 5.0, 10**400, -(10**400), "x", True, None, []]


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_log_probability_is_no_verdict(server: FaultServer, value: Any) -> None:
    def edit(answer: dict[str, Any]) -> None:
        for item in answer["choices"][0]["logprobs"]["content"]:
            item["top_logprobs"][0]["logprob"] = value

    server.plan = lambda call: Fault(edit=edit)
    with pytest.raises(EngineError, match="an answer that is no completion") as caught:
        ask(EndpointEngine(config(server, retries=0)), request(verdicts=("A", "B")))
    one_sentence(caught.value)


@pytest.mark.parametrize("told", [5, "much", [1], True, {"content": 5}, {"content": [5]}, {"a": 1}])
@pytest.mark.parametrize("sampling", [{"verdicts": ("A",)}, {"logprobs": True}])
def test_log_probabilities_of_another_shape(server: FaultServer, told: Any, sampling: Any) -> None:
    server.plan = lambda call: Fault(edit=lambda a: a["choices"][0].update(logprobs=told))
    with pytest.raises(EngineError, match="no completion: found .* among its log-prob") as caught:
        ask(EndpointEngine(config(server, retries=0)), request(**sampling))
    one_sentence(caught.value)


def test_an_answer_in_parts(server: FaultServer) -> None:
    parts = [
        {"type": "thinking", "thinking": []},
        5,
        {"type": "reasoning", "text": "Hm."},
        {"type": "text", "text": "one "},
    ]
    parts.append({"type": "text", "text": "two"})
    server.plan = lambda call: Fault(edit=message(content=parts))
    (answer,) = ask(EndpointEngine(config(server)), request())
    assert answer.samples[0].text == "one two"


def test_a_message_made_to_keep_the_patterns_busy(server: FaultServer) -> None:
    """Each `://` begins a place where a password may stand; the search is quadratic in them."""
    body = json.dumps({"error": {"message": "://" * 300_000}}).encode()
    server.plan = lambda call: Fault(400, body=body) if "hello" in call.text else None
    first, second = ask(EndpointEngine(config(server)), request(), request("other"))
    assert str(first.error).startswith("HTTP 400: ") and second.error is None


def test_an_endless_answer_is_no_answer(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prewrite.engine.endpoint.LARGEST", 1 << 20)
    packed = gzip.compress(b" " * (1 << 26))
    assert len(packed) < 1 << 17
    server.plan = lambda call: Fault(headers={"Content-Encoding": "gzip"}, body=packed)
    with pytest.raises(EngineError, match="an answer of more than 1 MiB"):
        ask(EndpointEngine(config(server, retries=0)), request())
    server.plan = lambda call: Fault(500, body=b"x" * (1 << 23))
    with pytest.raises(EngineError, match="HTTP 500"):
        ask(EndpointEngine(config(server, retries=0)), request())


def test_a_redirect_is_not_followed(server: FaultServer) -> None:
    """The prompt and the key go where the configuration says."""
    with FaultServer() as other:
        where = {"Location": f"{other.url}/chat/completions"}
        server.plan = lambda call: Fault(307, where) if "hello" in call.text else None
        first, second = ask(EndpointEngine(config(server)), request(), request("other"))
        assert "HTTP 307" in str(first.error) and second.error is None
        assert not other.calls


NOW = 1_000_000_000.0
DATE = "Sun, 09 Sep 2001 01:46:50 GMT"  # ten seconds later


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": " 4 "}, 4.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": DATE}, 10.0),
        ({"retry-after": DATE, "date": "Sun, 09 Sep 2001 01:46:43 GMT"}, 7.0),
        ({"retry-after": "Sunday, 09-Sep-01 01:46:50 GMT"}, 10.0),
        ({"retry-after": "Wed, 21 Oct 1999 07:28:00 GMT"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_every_form_of_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


def test_retry_after_is_honoured(server: FaultServer) -> None:
    server.plan = once(Fault(429, {"Retry-After": "1"}))
    (answer,) = ask(EndpointEngine(config(server)), request())
    first, second = server.calls
    assert answer.error is None
    assert second.begun - first.ended >= 1


def test_retries_are_bounded(server: FaultServer) -> None:
    server.plan = lambda call: Fault(500)
    with pytest.raises(EngineError) as caught:
        ask(EndpointEngine(config(server, retries=3)), request())
    assert "HTTP 500" in one_sentence(caught.value)
    assert len(server.calls) == 4 + 1, "the last one is harmless"
    assert "hello" not in server.calls[-1].text


def test_what_fails_alone_is_no_outage(server: FaultServer) -> None:
    """Also where nobody else is asking: the last row of a corpus must not stop it for ever."""
    server.plan = lambda call: Fault(500) if "hello" in call.text else None
    (answer,) = ask(EndpointEngine(config(server, retries=1)), request())
    assert answer.error and "HTTP 500" in answer.error


def test_an_outage_that_ends_with_the_retries_fails_nothing(server: FaultServer) -> None:
    server.plan = lambda call: Fault(500) if call.number < 2 else None
    (answer,) = ask(EndpointEngine(config(server, retries=1)), request())
    assert answer.error is None


def test_a_bad_request_fails_alone(server: FaultServer) -> None:
    server.plan = lambda call: Fault(400) if "poison" in call.text else None
    texts = [f"text {i}" for i in range(20)]
    texts[7] = "poison"
    answers = ask(EndpointEngine(config(server, concurrency=4)), *map(request, texts))
    failed = [i for i, answer in enumerate(answers) if answer.error is not None]
    assert failed == [7]
    assert answers[7].error == "HTTP 400: scripted 400" and answers[7].samples == ()
    assert len(server.calls) == 20


@pytest.mark.parametrize("retries", [0, 3])
def test_a_request_that_always_breaks_the_server_fails_alone(
    server: FaultServer, retries: int
) -> None:
    def plan(call: Call) -> Fault:
        return Fault(500, seconds=0.1) if "poison" in call.text else Fault(seconds=0.01)

    server.plan = plan
    texts = ["poison", *(f"text {i}" for i in range(60))]
    engine = EndpointEngine(config(server, concurrency=3, retries=retries))
    answers = ask(engine, *map(request, texts))
    assert [i for i, answer in enumerate(answers) if answer.error is not None] == [0]
    assert "HTTP 500" in str(answers[0].error)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_stops_at_once(server: FaultServer, status: int) -> None:
    server.plan = lambda call: Fault(status)
    with pytest.raises(EngineError, match=f"HTTP {status}") as caught:
        ask(EndpointEngine(config(server)), request())
    one_sentence(caught.value)
    assert len(server.calls) == 1


def test_an_endpoint_that_dies_for_good_stops_the_run(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those answered before are kept; nobody after is told that only his request failed."""
    monkeypatch.setattr("prewrite.engine.endpoint._backoff", lambda state: 0.1)

    def plan(call: Call) -> Fault:
        if call.number == 30:
            server.close()
        return Fault(seconds=0.01)

    server.plan = plan
    requests = [request(f"text {i}") for i in range(60)]
    results = ask_each(EndpointEngine(config(server, concurrency=8)), requests)
    errors = [result for result in results if not isinstance(result, Completion)]
    assert 0 < len(errors) < 60
    assert all(isinstance(error, EngineError) for error in errors)
    assert "endpoint" in one_sentence(errors[0])
    assert all(result.error is None for result in results if isinstance(result, Completion))


def test_unreachable_at_the_start() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    with pytest.raises(EngineError) as caught:
        EndpointEngine(EndpointConfig(kind="endpoint", urls=[url], model="m"))
    assert url in one_sentence(caught.value)


@pytest.mark.parametrize("status", [404, 500])
def test_a_server_that_lists_no_models_is_still_used(server: FaultServer, status: int) -> None:
    server.models = Fault(status)
    (answer,) = ask(EndpointEngine(config(server)), request())
    assert answer.error is None


@pytest.mark.timeout(60)
def test_an_endless_list_of_models_is_not_read(server: FaultServer) -> None:
    server.models = Fault(trickle=5)  # its 30 bytes take 150 seconds
    EndpointEngine(config(server))


def test_one_of_two_urls_dies(server: FaultServer) -> None:
    """A retry goes to the other URL, so one retry is enough for everyone."""
    with FaultServer(lambda call: Fault(seconds=0.005)) as other:
        engine = EndpointEngine(config(server, other, concurrency=8, retries=1))
        server.close()
        answers = ask(engine, *(request(f"text {i}") for i in range(100)))
    assert [answer.error for answer in answers] == [None] * 100
    assert len(other.calls) == 100


def test_urls_are_used_in_turn(server: FaultServer) -> None:
    with FaultServer() as other:
        engine = EndpointEngine(config(server, other))
        ask(engine, *(request(f"text {i}") for i in range(20)))
        assert (len(server.calls), len(other.calls)) == (10, 10)


@pytest.mark.parametrize("concurrency", [1, 8, 120])
def test_connections_are_kept_and_concurrency_holds(server: FaultServer, concurrency: int) -> None:
    server.plan = lambda call: Fault(seconds=0.01)
    engine = EndpointEngine(config(server, concurrency=concurrency))
    probe = server.connections
    answers = ask(engine, *(request(f"text {i}") for i in range(concurrency * 4)))
    assert all(answer.error is None for answer in answers)
    assert server.connections - probe <= concurrency
    assert server.most_open <= concurrency


def test_an_event_loop_takes_its_connections_along(server: FaultServer) -> None:
    engine = EndpointEngine(config(server, concurrency=4))
    for _ in range(3):
        answers = ask(engine, *(request(f"text {i}") for i in range(8)))
        assert all(answer.error is None for answer in answers)
    deadline = time.monotonic() + 10
    while server.sockets and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not server.sockets


def test_the_key_is_sent_and_never_shown(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-" + "very-secret"
    monkeypatch.setenv("MY_KEY", key)
    server.plan = lambda call: Fault(
        401, body=b'{"error": {"message": "no such key: sk-very-secret"}}'
    )
    engine = EndpointEngine(config(server, api_key_env="MY_KEY"))
    with pytest.raises(EngineError) as caught:
        ask(engine, request())
    assert server.calls[0].headers["authorization"] == f"Bearer {key}"
    server.plan = lambda call: Fault(400, body=f'{{"error": "{key}"}}'.encode())
    (refused,) = ask(engine, request())
    shown = [str(caught.value), str(refused), repr(engine), repr(engine.config)]
    shown += [str(engine.config.identity()), str(engine.versions())]
    assert not [text for text in shown if "very-secret" in text]


def test_a_key_that_is_refused_at_the_start(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    server.models = Fault(401, body=b'{"error": {"message": "sk-very-secret is wrong"}}')
    with pytest.raises(EngineError, match="api_key_env") as caught:
        EndpointEngine(config(server, api_key_env="MY_KEY"))
    assert "very-secret" not in one_sentence(caught.value)


def test_a_key_that_is_not_set(server: FaultServer) -> None:
    assert "MY_KEY" not in os.environ
    with pytest.raises(ConfigError, match="that api_key_env names is not set"):
        EndpointEngine(config(server, api_key_env="MY_KEY"))


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", "\n_"])
def test_a_key_from_a_file(server: FaultServer, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """What a file ends with is not the key; a line break inside it is refused, unquoted."""
    monkeypatch.setenv("MY_KEY", f"sk-very-secret{end}")
    if end == "\n_":
        with pytest.raises(ConfigError, match="holds a line break") as caught:
            EndpointEngine(config(server, api_key_env="MY_KEY"))
        assert "very-secret" not in str(caught.value)
    else:
        engine = EndpointEngine(config(server, api_key_env="MY_KEY"))
        server.plan = lambda call: Fault(
            400, body=b'{"error": {"message": "[\'sk-very-secret\'] and sk%2Dvery-secret"}}'
        )
        (refused,) = ask(engine, request())
        assert "sk-very-secret" not in str(refused)
        assert server.calls[-1].headers["authorization"] == "Bearer sk-very-secret"


def test_further_headers_come_from_the_environment(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their values are in nothing that is said or stored."""
    monkeypatch.setenv("MY_HEADER", "team-very-secret\n")
    headers = {"x-team": {"env": "MY_HEADER"}, "authorization": {"env": "MY_HEADER"}}
    engine = EndpointEngine(config(server, headers=headers))
    server.plan = lambda call: Fault(
        400, body=b'{"error": {"message": "no team team-very-secret"}}'
    )
    (refused,) = ask(engine, request())
    sent = server.calls[0].headers
    assert sent["x-team"] == sent["authorization"] == "team-very-secret"
    shown = [str(refused), repr(engine.config), str(engine.config.model_dump(mode="json"))]
    assert "very-secret" not in " ".join(shown) and "no team" in shown[0]
    assert engine.config.identity() == config(server).identity()


def test_a_header_whose_variable_is_not_set(server: FaultServer) -> None:
    with pytest.raises(ConfigError, match=r"that headers\.X-Team\.env names is not set"):
        EndpointEngine(config(server, headers={"X-Team": {"env": "NO_SUCH_VARIABLE"}}))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"headers": {"X-Team": "very-secret"}}, "headers.X-Team: found no name of an env"),
    ({"headers": {"X-Team": {"env": "very-secret"}}}, "headers.X-Team: found no name of an env"),
    ({"headers": {"X-Team": {"value": "very-secret"}}}, "headers.X-Team: found no name of an env"),
    ({"headers": {"X-Team": {"env": "A", "value": "very-secret"}}}, "found no name of an env"),
    ({"headers": {"X Team": {"env": "A"}}}, "headers: found the name 'X Team'"),
    ({"headers": {"Host": {"env": "A"}}}, "headers.Host: found what the client sets"),
    ({"headers": {"X-A": {"env": "A"}, "x-a": {"env": "B"}}}, "headers: found one twice"),
    (
        {"headers": {"authorization": {"env": "A"}}, "api_key_env": "B"},
        "api_key_env: found with headers.Authorization",
    ),
    *(
        ({"extra_body": {key: 1}}, f"extra_body.{key}: found a key that Prewrite sets itself")
        for key in ("model", "messages", "prompt", "max_tokens", "stop", "seed", "stream")
    ),
    ({"extra_body": {"a": [{"b": {"api_key": 5}}]}}, "extra_body.a.0.b.api_key: found the name of"),
    ({"extra_body": {"passwords": ["very-secret"]}}, "extra_body.passwords.0: found a value un"),
    ({"extra_body": {"a": datetime.date(2026, 1, 1)}}, "extra_body.a: found a date; accepted"),
    ({"extra_body": {"a": {1: 2}}}, "extra_body.a: found the key 1; accepted: texts"),
    ({"extra_body": {"a": [math.nan]}}, "extra_body.a.0: found nan; accepted: a finite number"),
    ({"max_completion_tokens": True, "api": "completions"}, "accepted with api: chat"),
    ({"max_completion_tokens": 512}, "max_completion_tokens: found 512; accepted: true or false"),
]


@pytest.mark.parametrize(("keys", "sentence"), REFUSED, ids=[text for _, text in REFUSED])
def test_keys_that_are_refused_in_a_sentence(
    tmp_path: Path, keys: dict[str, Any], sentence: str
) -> None:
    engine = {"kind": "endpoint", "urls": ["http://127.0.0.1:9/v1"], "model": "m"} | keys
    engine |= {"tokenizer": str(MODEL)} if keys.get("api") else {}
    recipe = tmp_path / "recipe.yaml"
    made = {"output": "x", "engines": {"main": engine}, "judge": {"engine": "main"}}
    recipe.write_text(yaml.dump(made))
    with pytest.raises(ConfigError) as caught:
        load(JudgeSections, str(recipe))
    assert sentence in str(caught.value) and "very-secret" not in str(caught.value)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize("api", APIS)
def test_further_keys_of_the_body_are_sent_and_belong_to_the_model(
    server: FaultServer, api: Api
) -> None:
    body = {"reasoning": {"effort": "low"}, "top_k": 5}
    engine = EndpointEngine(config(server, api=api, extra_body=body))
    ask(engine, request(verdicts=("A", "B"), logprobs=True))
    assert server.calls[0].body.items() >= body.items()
    assert server.calls[0].body["return_token_ids"] is True
    plain = config(server, api=api).identity()
    assert engine.config.identity() == plain | {"extra_body": body}
    assert "extra_body" not in plain, "sets that were made before there was the key fit"


def test_the_limit_by_its_other_name(server: FaultServer) -> None:
    engine = EndpointEngine(config(server, max_completion_tokens=True, primed=False))
    ask(engine, request(), request("which?", max_tokens=1, verdicts=("A",)))
    bodies = [call.body for call in server.calls]
    assert sorted(body["max_completion_tokens"] for body in bodies) == [8, 16]
    assert not [body for body in bodies if "max_tokens" in body]
    assert engine.config.identity()["max_completion_tokens"] is True


def test_completions_sends_token_ids(server: FaultServer) -> None:
    engine = EndpointEngine(config(server, api="completions"))
    asked = request("say <|im_end|> now", answer="Sure")
    ask(engine, asked)
    sent = server.calls[0].body["prompt"]
    assert server.calls[0].path == "/v1/completions"
    assert sent == PromptEncoder(str(MODEL), {}).encode(asked.prompt)


def test_token_ids_are_sent_as_they_are(server: FaultServer) -> None:
    asked = Request(Prompt(tokens=(5, 6, 7)), Sampling(8, end=2))
    ask(EndpointEngine(config(server, api="completions")), asked)
    body = server.calls[0].body
    assert body["prompt"] == [5, 6, 7]
    assert (body["stop_token_ids"], body["ignore_eos"]) == ([2], True)
    with pytest.raises(EngineError, match="api: chat takes no token ids"):
        ask(EndpointEngine(config(server)), asked)


def test_completions_needs_a_tokenizer() -> None:
    with pytest.raises(ValidationError, match="required by api: completions"):
        EndpointConfig(kind="endpoint", urls=["http://127.0.0.1:9"], model="m", api="completions")


def test_chat_continues_the_primed_answer(server: FaultServer) -> None:
    engine = EndpointEngine(config(server, template_args={"enable_thinking": False}))
    ask(engine, Request(Prompt(("a ", "b"), answer="Sure"), Sampling(max_tokens=8)))
    body = server.calls[0].body
    user, assistant = body["messages"]
    assert user == {"role": "user", "content": "a b"}
    assert assistant == {"role": "assistant", "content": "Sure"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize("api", APIS)
def test_verdicts_are_probabilities(server: FaultServer, api: Api) -> None:
    engine = EndpointEngine(config(server, api=api))
    (answer,) = ask(engine, request(max_tokens=1, temperature=0.0, verdicts=("A", "B", "Z")))
    expected = {"A": math.exp(VERDICTS["A"]), "B": math.exp(VERDICTS["B"]), "Z": 0.0}
    assert answer.samples[0].verdicts == pytest.approx(expected)


@pytest.mark.parametrize("api", APIS)
def test_a_server_without_logprobs_is_told_of(server: FaultServer, api: Api) -> None:
    server.plan = lambda call: Fault(edit=lambda a: a["choices"][0].__setitem__("logprobs", None))
    with pytest.raises(EngineError, match="without logprobs"):
        ask(EndpointEngine(config(server, api=api)), request(verdicts=("A",)))


@pytest.mark.parametrize("api", APIS)
def test_logprobs_and_token_ids_when_asked_for(server: FaultServer, api: Api) -> None:
    engine = EndpointEngine(config(server, api=api))
    asked, not_asked = ask(engine, request(logprobs=True), request())
    assert asked.samples[0].logprobs == (-0.5,)
    assert asked.samples[0].token_ids == (7,)
    assert (not_asked.samples[0].logprobs, not_asked.samples[0].token_ids) == ((), ())


@pytest.mark.parametrize("api", APIS)
def test_sampling_is_sent(server: FaultServer, api: Api) -> None:
    engine = EndpointEngine(config(server, api=api))
    asked = request(n=3, seed=5, temperature=0.6, top_p=0.7, stop=("\n",))
    (answer,) = ask(engine, asked)
    assert len(answer.samples) == 3 and answer.output_tokens == 12
    expected = {
        "model": "m",
        "max_tokens": 8,
        "n": 3,
        "seed": 5,
        "temperature": 0.6,
        "top_p": 0.7,
        "stop": ["\n"],
    }
    assert server.calls[0].body.items() >= expected.items()
    ask(engine, request())
    assert not {"seed", "stop"} & set(server.calls[1].body)
    ask(engine, request(stop=tuple("abcdef")))
    assert server.calls[2].body["stop"] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("cached", [None, 0, 7])
def test_cached_tokens(server: FaultServer, cached: int | None) -> None:
    server.cached = cached
    (answer,) = ask(EndpointEngine(config(server)), request())
    assert answer.cached_tokens == cached


def test_length_is_told(server: FaultServer) -> None:
    server.plan = lambda call: Fault(
        edit=lambda a: a["choices"][0].__setitem__("finish_reason", "length")
    )
    (answer,) = ask(EndpointEngine(config(server)), request())
    assert answer.samples[0].finish_reason == "length"


def test_an_endpoint_that_refuses_everything_stops_the_run(server: FaultServer) -> None:
    """Such as one that does not know `continue_final_message`: no row is to blame."""
    server.plan = lambda call: Fault(400)
    texts = [request(f"text {i}") for i in range(40)]
    with pytest.raises(EngineError, match="HTTP 400.*first 16 requests"):
        ask(EndpointEngine(config(server, concurrency=4)), *texts)


def test_rows_that_are_refused_do_not_stop_the_run_though_they_come_first(
    server: FaultServer,
) -> None:
    """As where only rows are asked again that failed before."""
    server.plan = lambda call: Fault(400) if "text" in call.text else None
    texts = [request(f"text {i}") for i in range(40)]
    answers = ask(EndpointEngine(config(server, concurrency=4)), *texts, request("fine"))
    assert [one.error is None for one in answers] == [False] * 40 + [True]


def _talks_first(answer: dict[str, Any]) -> None:
    """The verdict is the third token, as where an answer cannot be begun for the model."""
    content = answer["choices"][0]["logprobs"]["content"]
    verdict = content[0] | {"token": "B"}
    noise = [{"token": "C", "logprob": -0.1}]
    before = [content[0] | {"token": word, "top_logprobs": noise} for word in ("Verdict", ": (")]
    content[:] = [*before, verdict]


def _said(*words: str) -> Callable[[dict[str, Any]], None]:
    """An answer of these tokens, each the likeliest one where it stands."""

    def edit(answer: dict[str, Any]) -> None:
        tokens = [{"token": word, "logprob": -0.1} for word in words]
        rows = [token | {"top_logprobs": [token]} for token in tokens]
        answer["choices"][0]["logprobs"]["content"] = rows

    return edit


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        (("Verdict", ":", " (", "B", ")"), "B"),
        (("**", "Verdict", ":**", " (", "B", ")"), "B"),
        (("A",), "A"),
        (("(", "A", ")", "."), "A"),
        ((" A", "\n"), "A"),
        (("A", " passage", " that", ".", " Verdict", ":", " (", "B", ")"), "B"),
        (("verdict", ":", " B"), "B"),
        (("A", " passage", " that", " harms"), None),
        (("The", " better", " is", " A"), None),
        (("Verdict", ":", " (", "none", ")"), None),
        (("Verdict", ":", " (", "A", ").", "\n\n", "The", " passage"), "A"),
        (("Verdict", ":", " (", "A", ")?"), None),
        (("Verdict", ":", " A", " or", " B"), None),
        (("Verdict", ":", " (", "A", ")", " or", " (", "B", ")"), None),
        (("Verdict", ":", " not", " (", "A", ")"), None),
    ],
)
def test_a_verdict_is_read_only_where_the_answer_form_puts_it(
    server: FaultServer, words: tuple[str, ...], verdict: str | None
) -> None:
    server.plan = lambda call: Fault(edit=_said(*words))
    engine = EndpointEngine(config(server, primed=False))
    (answer,) = ask(engine, request("which?", "Verdict: (", max_tokens=1, verdicts=("A", "B")))
    found = {name for name, share in answer.samples[0].verdicts.items() if share}
    assert found == ({verdict} if verdict else set())


def test_an_unprimed_answer_is_read_where_its_verdict_stands(server: FaultServer) -> None:
    server.plan = lambda call: Fault(edit=_talks_first)
    engine = EndpointEngine(config(server, primed=False))
    (answer,) = ask(engine, request("which?", "Verdict: (", max_tokens=1, verdicts=("A", "B")))
    assert answer.samples[0].verdicts == pytest.approx({v: math.exp(VERDICTS[v]) for v in "AB"})
    sent = server.calls[0].body
    assert [message["role"] for message in sent["messages"]] == ["user"]
    assert sent["max_tokens"] > 1 and "continue_final_message" not in sent

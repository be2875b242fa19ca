"""Secrets: none in a configuration, none in what is said."""

import pytest

from prewrite.base.cli import ending
from prewrite.base.config import parse_yaml
from prewrite.base.errors import ConfigError, InputError
from prewrite.base.secret import from_environment, redact, refuse_secrets

SECRET = "hunter2SECRETvalue"


@pytest.mark.parametrize(
    "text",
    [
        f"GET http://user:{SECRET}@host/a.jsonl: 404",
        f"s3://KEY:{SECRET}@bucket/x: cannot list",
        f"simplecache::https://user:{SECRET}@host/x",
        f"https://host/a?X-Amz-Signature={SECRET}&token={SECRET}, then",
        f"{{'Authorization': 'Bearer {SECRET}'}}",
        f"authorization: basic {SECRET}==",
        f"Incorrect API key provided: sk-proj-{SECRET}",
        "hf_abcdefghijklmnopqrstuvwxyz",
        "ghp_abcdefghijklmnopqrstuvwxyz",
        *(
            f"{begin}abcdefghijklmnopqrstuvwxyz0123456789"
            for begin in (
                "gsk_",
                "xai-",
                "nvapi-",
                "pplx-",
                "r8_",
                "glpat-",
                "AIza",
                "npm_",
                "pypi-",
            )
        ),
        "ASIAABCDEFGHIJKLMNOP",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----",
    ],
)
def test_what_is_struck_out(text: str) -> None:
    assert SECRET not in redact(text) and "…" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "a@b.c, https://host/a/b.jsonl, s3://bucket/part-?.jsonl",
        "50 tokens; accepted: key.sub=value, why? because",
        "the basic idea; bearer of news; sk-learn; hf_internal",
    ],
)
def test_what_is_not(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("form", ["{}", "b'{}\\n'", "['{}']", '{{"key": "{}"}}'])
def test_a_value_of_the_environment(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setenv("MY_KEY", 'pass/wörd"x'.replace("ö", "o") + "\n")
    value = from_environment("MY_KEY", "headers.x")
    assert value == 'pass/word"x'
    for one in (value, "pass%2Fword%22x", 'pass/word\\"x'):
        assert "word" not in redact(form.format(one))


def test_an_error_sentence_holds_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise InputError(f"http://u:{SECRET}@host/a?sig={SECRET}: cannot read")

    assert ending(main) == 1
    assert capsys.readouterr().err == "error: http://…@host/a?sig=…: cannot read\n"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f"engines: {{main: {{api_key: {SECRET}}}}}", "engines.main.api_key"),
        (f"engines: {{main: {{template_args: {{hf_token: {SECRET}}}}}}}", "template_args.hf_token"),
        (f"engines: {{main: {{args: {{a: [{{Password: {SECRET}}}]}}}}}}", "args.a.0.Password"),
        (f"headers: {{Authorization: {SECRET}}}", "headers.Authorization"),
        (f"headers: {{x-org: Bearer {SECRET}}}", "headers.x-org"),
        (f"input: {{paths: ['https://host/a.jsonl?token={SECRET}']}}", "input.paths.0"),
        (f"input: {{paths: [a, 's3://KEY:{SECRET}@bucket/x']}}", "input.paths.1"),
        (f"output: 'simplecache::http://u:{SECRET}@h/x'", "output"),
        (f"model: sk-{SECRET}", "model"),
        ("args: {password: 123456}", "args.password"),
        (f"args: {{passwords: [{SECRET}]}}", "args.passwords.0"),
        (f"args: {{openai_key: {SECRET}}}", "args.openai_key"),
        (f"args: {{sas-token: {SECRET}}}", "args.sas-token"),
        (f"args: {{private_key_pem: {SECRET}}}", "args.private_key_pem"),
        (f"path: 'https://host/a.jsonl#access_token={SECRET}'", "path"),
        (f"path: 'https://host/a;token={SECRET}/c.jsonl'", "path"),
        (f"store: 'Protocol=https;AccountKey={SECRET};Suffix=x'", "store"),
    ],
)
def test_a_configuration_with_a_secret_is_refused(text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_secrets(parse_yaml(text))
    assert f"{key}: found " in str(caught.value)
    assert SECRET not in str(caught.value)


def test_ordinary_keys_and_values_are_none() -> None:
    refuse_secrets(
        {
            "template_args": {"eos_token": "</s>", "enable_thinking": True, "key": "value"},
            "args": {"max_num_batched_tokens": 5, "tokenizer": "a", "hf_token": None},
            "api_key_env": "MY_KEY",
            "paths": [
                "s3://bucket/lang=en/a?b.jsonl",
                "a=b/c.jsonl",
                "http://host/[a].jsonl",
                "http://[::1",
                "a@b",
            ],
        }
    )


@pytest.mark.parametrize("name", ["", "a b", "sk-abc", "1A", "A\n"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ConfigError, match="found no name of an environment variable") as caught:
        from_environment(name, "api_key_env")
    assert not name.strip() or name not in str(caught.value).replace("a name", "")


def test_a_broken_yaml_line_is_not_quoted() -> None:
    with pytest.raises(ValueError, match="line 1") as caught:
        parse_yaml(f"api_key: {SECRET}: [")
    assert SECRET not in str(caught.value)

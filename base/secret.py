"""Secrets stay where they are: refused in configurations, struck out of everything that is said.

A configuration names environment variables and never holds a key, because it is stored with every
set. What a server, a library or a file says may still quote one, so all sentences, reasons and logs
pass through `redact`.
"""

import json
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from prewrite.base.errors import ConfigError
from prewrite.base.text import one_line

STRUCK = "…"
_SHORTEST = 4  # characters: a shorter key would be struck out of ordinary words
_READ = 4096  # characters of a message that are looked at
_known: set[str] = set()

_PASSWORD = re.compile(r"(?<=://)[^\s'\"]*@")
_QUERY = re.compile(r"([?&][\w.~%-]{1,100}=)[^&\s'\"<>]*[^&\s'\"<>:;,.]")
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE)
_SHAPED = re.compile(
    r"\b(?:sk-[\w-]{16,}|hf_[A-Za-z0-9]{20,}|gh[pousr]_\w{16,}|github_pat_\w{16,}|xox[abp]-[\w-]{8,}|"
    r"A[KS]IA[A-Z0-9]{12,}|AIza[\w-]{30,}|glpat-[\w-]{16,}|gsk_\w{20,}|xai-\w{20,}|nvapi-[\w-]{20,}|"
    r"pplx-\w{20,}|r8_\w{20,}|npm_\w{20,}|pypi-[\w-]{20,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*)"
    r"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----"
)
_NAMED = re.compile(
    r"(?:.*[_-])?(?:(?:api|access|private|secret|auth|account)[_-]?keys?(?:[_-]pem)?|"
    r"(?:api|auth|hf|access|bearer|session|refresh|secret|sas)[_-]?tokens?|"
    r"(?:openai|anthropic|github|gitlab|azure|aws|google|groq|mistral)[_-]?(?:key|token)s?|"
    r"secrets?|passwords?|passwd|passphrases?|pwd|credentials?|authorization|cookie)|token",
    re.IGNORECASE,
)
_PAIR = re.compile(r"(?:^|[?&;#/])([\w.-]{1,100})=[^;&#/]")
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def redact(text: str) -> str:
    """`text` without passwords and query values of URLs, without what looks like a key, and without
    the values that `from_environment` has read.
    """
    for value in sorted(_known, key=len, reverse=True):
        text = text.replace(value, STRUCK)
    text = _PASSWORD.sub(f"{STRUCK}@", text)
    text = _QUERY.sub(rf"\1{STRUCK}", text)
    text = _BEARER.sub(rf"\1 {STRUCK}", text)
    return _SHAPED.sub(STRUCK, text)


def said(text: str, longest: int) -> str:
    """What a server or a library says, in one line of at most `longest` characters, redacted. Of a
    long text only the beginning is read: it may be made to keep the patterns busy.
    """
    return one_line(redact(text[:_READ]), longest)


def from_environment(name: str, key: str) -> str:
    """The value of a variable that the configuration names at `key`, without white space around it:
    a file that it was read from ends in a line break. ConfigError, which quotes neither, where it
    is absent or no text that a header can hold.
    """
    if not is_variable(name):
        raise ConfigError(f"{key}: found no name of an environment variable; accepted: NAME")
    value = os.environ.get(name, "").strip()
    if not value:
        raise ConfigError(f"the environment variable that {key} names is not set, or empty")
    if not (value.isascii() and value.isprintable()):
        raise ConfigError(
            f"the environment variable that {key} names holds a line break or another character "
            "that no header can; accepted: printable ASCII"
        )
    if len(value) >= _SHORTEST:
        _known.update({value, quote(value, safe=""), json.dumps(value)[1:-1], repr(value)[1:-1]})
    return value


def is_variable(name: str) -> bool:
    """Whether an environment variable can be called so."""
    return bool(_VARIABLE.fullmatch(name))


def refuse_secrets(data: Any, where: str = "") -> None:
    """ConfigError for a password, a query or a key in a configuration; it is named, not quoted."""
    for key, value in _leaves(data, where):
        if value in (None, "", True, False):
            continue
        if not isinstance(value, str) and len(str(value)) < _SHORTEST:
            continue
        if is_named_secret(re.sub(r"(?:\.\d+)+$", "", key).rpartition(".")[2]):
            raise ConfigError(
                f"{key}: found a value under the name of a secret; accepted: the environment, by "
                "a key that ends in _env or a variable that the library itself reads"
            )
        value = str(value)
        if _SHAPED.search(key) or _SHAPED.search(value) or _BEARER.search(value):
            raise ConfigError(f"{key}: found what looks like a key; accepted: a text without one")
        if _has_secret(value):
            raise ConfigError(
                f"{key}: found a URL with a password, a key or a query in it; accepted: one "
                "without (credentials come from the environment or the library's own configuration)"
            )


def is_named_secret(name: str) -> bool:
    """Whether a key is called as secrets are."""
    return bool(_NAMED.fullmatch(name))


def _leaves(data: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping and no list, with its dotted key."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _leaves(value, f"{where}.{key}" if where else str(key))
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from _leaves(value, f"{where}.{number}" if where else str(number))
    else:
        yield where, data


def _has_secret(url: str) -> bool:
    """Of a URL, or a text of `name=value` pairs without white space."""
    if not re.search(r"\s", url) and any(map(is_named_secret, _PAIR.findall(url))):
        return True
    if "://" not in url:
        return False
    try:
        parts = urlsplit(url)
        secret = parts.password is not None or (
            parts.scheme in ("http", "https") and bool(parts.username or "=" in parts.query)
        )
    except ValueError:  # brackets that do not close
        secret = False
    chained = _PASSWORD.search(url)  # `cache::http://name:password@host`, or a slash in a password
    return secret or bool(chained and (":" in chained[0] or url.startswith("http")))

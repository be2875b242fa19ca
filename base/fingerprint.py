"""Fingerprints of configurations, and the difference between two of them in words.

A fingerprint is the SHA-256 of canonical JSON (sorted keys, no spaces, UTF-8), so it depends on
values only, not on the order of keys or the version of this project.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from prewrite.base.errors import ConfigError


def canonical(value: Any) -> str:
    """JSON text that is equal for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fingerprint(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def mixed(seed: int, number: int) -> int:
    """A seed of 31 bits, another one for each number."""
    return int(fingerprint([seed, number])[:8], 16) >> 1


def differences(old: Any, new: Any, key: str = "") -> list[str]:
    """Each dotted key whose value differs, as `key: old → new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for name in sorted(old.keys() | new.keys()):
            inner = f"{key}.{name}" if key else str(name)
            lines += differences(old.get(name), new.get(name), inner)
        return lines
    return [] if old == new else [f"{key}: {_short(old)} → {_short(new)}"]


def other_configuration(where: str, lines: Sequence[str], remedy: str) -> ConfigError:
    """The refusal of what was made under another configuration. lines: what differs; remedy: what
    to do where that is meant.
    """
    listed = "\n".join(f"  {line}" for line in lines)
    return ConfigError(
        f"{where} was made under another configuration; {remedy}, or restore:\n{listed}"
    )


def _short(value: Any) -> str:
    text = canonical(value)
    return text if len(text) <= 80 else text[:77] + "…"

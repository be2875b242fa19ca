"""A digest in a JSON file of all its other values: how an edit, or damage, of it is found.

What counts is the values, not how they are laid out. Cost: the canonical text and its SHA-256, less
than it takes to check the values one by one.
"""

import json
from typing import Any

from prewrite.base.fingerprint import fingerprint

DIGEST = "digest"


def sealed(content: dict[str, Any]) -> bytes:
    """The text of `content` with its digest."""
    whole = {**content, DIGEST: fingerprint(content)}
    return (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode()


def opened(whole: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """The content, and the digest that the file gives for it; None where it gives none."""
    return {key: value for key, value in whole.items() if key != DIGEST}, whole.get(DIGEST)

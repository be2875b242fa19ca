"""Which share of all documents a document belongs to, by its id alone.

So a corpus is divided without a list: [0.0, 0.9) and [0.9, 1.0) hold no common document, whatever
the order, the machine or the number of workers, and any part of either is a random sample.
"""

import hashlib


def share(doc_id: str) -> float:
    """A number from 0 to below 1, drawn evenly by the id; the same everywhere and for ever."""
    digest = hashlib.sha256(f"prewrite.share\0{doc_id}".encode("utf-8", "replace")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)

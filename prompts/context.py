"""The context of a chunk: the text before it, as pieces that later chunks share.

Chunk j's context is chunk j-1's and one piece more, so the engine computes one chunk, not the whole
prefix. When it grows over the limit its start moves on until half the limit is left; so in a long
document the start moves rarely, and in between the prefix is again shared.
"""

from collections.abc import Sequence

from prewrite.shards.schema import Row


def contexts(rows: Sequence[Row], max_tokens: int) -> list[tuple[str, ...]]:
    """The context of each row of a document, at most `max_tokens` tokens of the chunking
    tokenizer. A single row longer than that (the context row of `cuts: one`) is cut at white
    space by its mean token length, which keeps a tenth in reserve.
    """
    found: list[tuple[str, ...]] = []
    start = total = 0
    texts = [row["original"] for row in rows]
    sizes = [row["original_tokens"] for row in rows]
    for index, size in enumerate(sizes):
        found.append(tuple(texts[start:index]))
        if size > max_tokens:
            texts[index] = _tail(texts[index], size, max_tokens)
            size = sizes[index] = min(size, max_tokens)
        total += size
        if total > max_tokens:
            while total > max(max_tokens // 2, size):
                total -= sizes[start]
                start += 1
    return found


def lead(context: Sequence[str], words: int = 5) -> str:
    """The last `words` words of a context, which prime a rewrite so that it joins on smoothly."""
    tail = "".join(context[-3:])[-400:]
    parts = tail.rsplit(None, words)
    if len(parts) < words:
        return tail
    before = parts[0] if len(parts) > words else ""
    return tail[len(before) :].lstrip()


def _tail(text: str, tokens: int, limit: int) -> str:
    """About the last `limit` of `tokens` tokens of `text`, from the next space if one is near."""
    at = len(text) - int(len(text) * limit * 0.9 / tokens)
    space = text.find(" ", at, at + 40)
    return text[space if space != -1 else at :]

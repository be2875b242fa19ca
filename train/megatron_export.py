"""`prewrite train export`: best texts as token ids in Megatron's indexed format, two files.

Each document (or chunk) is one sequence that ends with EOS, as Megatron's own `preprocess_data.py
--append-eod` writes it. Special tokens in a text are plain characters. Both files are written
whole, the index last, so a pair that Megatron finds is complete. Megatron's own builder would keep
the length of every sequence in memory and write to local disks only; here memory holds one batch
of texts, and lengths wait in a temporary file.
"""

import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

import numpy as np
from numpy.typing import NDArray

from prewrite.base.apart import lies_in
from prewrite.base.errors import ConfigError, EngineError
from prewrite.base.files import resolve
from prewrite.base.whole import written
from prewrite.engine.tokenizer import PlainTokenizer, load_tokenizer
from prewrite.shards.export import Each, Export
from prewrite.shards.export_files import groups, refuse_inside, refuse_nothing, told

_MAGIC = b"MMIDIDX\x00\x00"
_CODES = {np.dtype(np.int32): 4, np.dtype(np.uint16): 8}
"""Megatron's code of each type of token ids."""

_BLOCK = 1 << 20  # lengths handled at a time
_ROWS, _CHARACTERS = 1024, 1 << 22


def export(records: Export, prefix: str, model: str) -> int:
    """Write PREFIX.bin and PREFIX.idx with the tokenizer of `model`; returns the number of tokens.

    EngineError for a tokenizer that cannot be used, ConfigError when no record is left, or for a
    place inside of what is read.
    """
    refuse_inside(records, prefix)
    if lies_in(f"{prefix}.bin", model):
        raise ConfigError(
            f"--to: found '{prefix}', inside of the tokenizer's folder; accepted: a place outside"
        )
    tokenizer, eos = load_tokenizer(model), _eos(model)
    kind = np.dtype(np.uint16 if len(tokenizer.ids()) < 65500 else np.int32)
    fs, index = resolve(f"{prefix}.idx")
    if fs.exists(index):
        fs.rm(index)  # an old index would fit no new tokens
    with tempfile.TemporaryFile() as lengths:
        with written(f"{prefix}.bin") as stream:
            for ids in _tokens(records, tokenizer, eos):
                stream.write(np.asarray(ids, kind).tobytes())
                lengths.write(np.int32(len(ids)).tobytes())
            refuse_nothing(records)
        with written(f"{prefix}.idx") as stream:
            return _write_index(stream, lengths, kind)


def _tokens(records: Export, tokenizer: PlainTokenizer, eos: int) -> Iterator[Sequence[int]]:
    for group in groups(records, _ROWS, _CHARACTERS):
        texts = [record["text"] for record in group]
        for encoding in tokenizer.encode_batch(texts):
            yield [*encoding.ids, eos]


def _write_index(stream: IO[bytes], lengths: IO[bytes], kind: np.dtype[np.generic]) -> int:
    """The index: lengths of all sequences, where each begins in bytes, where documents end."""
    count = lengths.tell() // 4
    stream.write(_MAGIC + struct.pack("<QBQQ", 1, _CODES[kind], count, count + 1))
    for block in _blocks(lengths):
        stream.write(block.tobytes())
    total = 0
    for block in _blocks(lengths):
        ends = total + np.cumsum(block, dtype=np.int64)
        stream.write(((ends - block) * kind.itemsize).tobytes())
        total = int(ends[-1])
    for start in range(0, count + 1, _BLOCK):
        stream.write(np.arange(start, min(start + _BLOCK, count + 1), dtype=np.int64).tobytes())
    return total


def _blocks(lengths: IO[bytes]) -> Iterable[NDArray[np.int32]]:
    lengths.seek(0)
    while data := lengths.read(4 * _BLOCK):
        yield np.frombuffer(data, np.int32)


def _eos(model: str) -> int:
    # A slow import (2 s) that a wrong option must not pay.
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(model).eos_token_id
    except (OSError, ValueError) as error:
        text = str(error).splitlines()[0]
        raise EngineError(f"{model}: no usable tokenizer there: {text}") from None
    if found is None:
        raise EngineError(f"{model}: this tokenizer has no token that ends a text (eos_token)")
    return int(found)


def export_tokens(url: str, to: str, tokenizer: str, each: Each, condition: str | None) -> None:
    """Export a set as `to`.bin and `to`.idx, and print how much it was."""
    records = Export(url, each, condition)
    tokens = export(records, to, tokenizer)
    print(f"{to}.bin and .idx: {told(records)}, {tokens} tokens")

"""Exported records as one file, JSON Lines or Parquet; whole or not there.

Memory holds one row group: 4,096 records or 16 million characters of them.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from prewrite.base.apart import lies_in
from prewrite.base.errors import ConfigError
from prewrite.base.whole import written
from prewrite.shards.export import Export

Records = Iterable[dict[str, Any]]

_ROWS, _CHARACTERS = 4096, 1 << 24


def export(records: Export, target: str) -> None:
    """Write `records` to the file `target` (any fsspec URL), which is replaced if it is there.

    ConfigError for a name that ends in neither .jsonl nor .parquet, lies inside of the set, or
    when no record is left.
    """
    write = _FORMATS.get(target.rpartition(".")[2])
    if write is None:
        raise ConfigError(
            f"--to: found '{target}'; accepted: a file that ends in .jsonl or .parquet (token ids "
            "for Megatron: prewrite train export)"
        )
    refuse_inside(records, target)
    with written(target) as stream:
        write(stream, records, records.schema)
        refuse_nothing(records)


def refuse_inside(records: Export, target: str) -> None:
    """ConfigError for a target that could replace a file of the set."""
    if lies_in(target, records.shards.folder.url):
        raise ConfigError(f"--to: found '{target}', inside of the set; accepted: a place outside")


def refuse_nothing(records: Export) -> None:
    """ConfigError when no record was left."""
    if not records.counts["records"]:
        raise ConfigError(f"{records.shards.folder.url}: nothing to export: {told(records)}")


def told(records: Export) -> str:
    """What was exported and what was not, for a person."""
    count, each = records.counts["records"], records.each
    others = [f"{n} {why}" for why, n in records.counts.items() if n and why != "records"]
    return f"{count} {each}{'s' * (count != 1)}" + (f" ({', '.join(others)})" if others else "")


def _jsonl(stream: IO[bytes], records: Records, columns: pa.Schema) -> None:
    for record in records:
        stream.write((json.dumps(record, ensure_ascii=False) + "\n").encode())


def _parquet(stream: IO[bytes], records: Records, columns: pa.Schema) -> None:
    texts: Any = ["source"]  # stubs: bool
    with pq.ParquetWriter(stream, columns, compression="zstd", use_dictionary=texts) as writer:
        for group in groups(records, _ROWS, _CHARACTERS):
            writer.write_table(pa.Table.from_pylist(group, columns))


def groups(records: Records, rows: int, characters: int) -> Iterator[list[dict[str, Any]]]:
    """Lists of at most `rows` records, closed once their texts have so many characters."""
    group: list[dict[str, Any]] = []
    size = 0
    for record in records:
        group.append(record)
        size += sum(len(value) for value in record.values() if isinstance(value, str))
        if len(group) == rows or size >= characters:
            yield group
            group, size = [], 0
    if group:
        yield group


_FORMATS: dict[str, Callable[[IO[bytes], Records, pa.Schema], None]] = {
    "jsonl": _jsonl,
    "parquet": _parquet,
}

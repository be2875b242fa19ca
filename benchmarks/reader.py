"""The corpus reader against datatrove's own readers, on the same files in the same run.

Both parse every record of 100 MB of text into a document (text, id, the other fields); neither
cuts nor tokenises. Ours also hashes the file, checks every text and makes `meta` one JSON string.
Rounds alternate, and the ratio is taken within each. CPU seconds of the process are counted, so
that other work on the machine weighs less; the median over rounds is told.
"""

import gzip
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from datatrove.pipeline.readers import JsonlReader, ParquetReader
from loguru import logger

from benchmarks.mechanism import _corpus
from prewrite.rewrite.config import InputConfig
from prewrite.rewrite.detect import record_of
from prewrite.rewrite.files import CorpusFile
from prewrite.rewrite.layouts import layout_of

MEGABYTES, ROUNDS = 100, 5


def _files(folder: Path) -> dict[str, Path]:
    """One corpus in every form, uncompressed, packed and as Parquet."""
    text = folder / "a.jsonl"
    _corpus(text, MEGABYTES)
    data = text.read_bytes()
    found = {
        name: folder / f"a{name}" for name in (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
    }
    found[".jsonl.gz"].write_bytes(gzip.compress(data, 6))
    found[".jsonl.zst"].write_bytes(zstandard.compress(data, 3))
    table = pa.Table.from_pylist([json.loads(line) for line in data.splitlines()])
    pq.write_table(table, found[".parquet"], row_group_size=1000, compression="zstd")
    return found


def _ours(path: Path) -> int:
    layout = layout_of("text", "text")
    limit = int(InputConfig.model_fields["max_record_bytes"].default)
    count = 0
    for found in CorpusFile(str(path), limit).records():
        layout.parse(record_of(found), path.name)
        count += 1
    return count


def _theirs(path: Path) -> int:
    """datatrove's, compression told by the name."""
    options = {"glob_pattern": path.name, "doc_progress": False, "file_progress": False}
    kind = ParquetReader if path.suffix == ".parquet" else JsonlReader
    return sum(1 for _ in kind(str(path.parent), **options).run())


def _cpu(read: Callable[[Path], int], path: Path) -> tuple[float, int]:
    begun = time.process_time()
    count = read(path)
    return time.process_time() - begun, count


def main(output: str) -> None:
    """Measure each form, and write the figures as JSON."""
    logger.remove()
    result: dict[str, object] = {"megabytes": MEGABYTES, "rounds": ROUNDS}
    with tempfile.TemporaryDirectory() as folder:
        paths = _files(Path(folder))
        size = paths[".jsonl"].stat().st_size / 1e6
        for suffix, path in paths.items():
            ours, theirs = [], []
            for _ in range(ROUNDS):
                (mine, count), (other, same) = _cpu(_ours, path), _cpu(_theirs, path)
                if count != same:
                    raise SystemExit(f"{suffix}: {count} records here, {same} there")
                ours.append(size / mine)
                theirs.append(size / other)
            result[suffix[1:]] = {
                "records": count,
                "mb_per_s": round(statistics.median(ours), 1),
                "datatrove_mb_per_s": round(statistics.median(theirs), 1),
                "ratios": [round(a / b, 2) for a, b in zip(ours, theirs, strict=True)],
                "ratio": round(
                    statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 2
                ),
            }
    with open(output, "w", encoding="utf-8") as stream:
        json.dump(result, stream)


if __name__ == "__main__":
    main(sys.argv[1])

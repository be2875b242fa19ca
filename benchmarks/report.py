"""What a report of a set costs: `python -m benchmarks.report FILE`.

Sets of 100,000 and of 1,000,000 rows: chunks of the sample corpus, each with a tenth of its words
left out as its rewrite, drawn scores, two verdicts a judged row. Ids and scores differ in every
part, texts come again. The page is built in a fresh process; then Chromium opens it from disk.
Loaded: from the navigation to the end of the page's load event, with the rows filtered once.
"""

import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prewrite.base.files import Folder
from prewrite.shards.manifest import PassInfo
from prewrite.shards.names import REPORT
from prewrite.shards.schema import Row, schema, to_parquet
from tests import browser
from tests.shards.making import write_set

SIZES = (100_000, 1_000_000)
PART = 20_000
OPENED = 5
CRITERIA = ("quality", "safety", "factuality")
_MEASURES = ("quality_consistency",)


def _rows() -> list[dict[str, Any]]:
    """One part's rows without what differs from part to part."""
    draw, chunks = np.random.default_rng(0), list[tuple[str, str]]()
    for file in sorted(Path("configs/sample").glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            words = json.loads(line)["text"].split(" ")
            chunks += [(file.stem, " ".join(words[i : i + 90])) for i in range(0, len(words), 90)]
    found = []
    for number in range(PART):
        source, text = chunks[number % len(chunks)]
        kept = " ".join(word for word in text.split(" ") if draw.random() < 0.9)
        status = str(draw.choice(["ok", "copied", "refused", "truncated"], p=[0.7, 0.1, 0.1, 0.1]))
        found.append(
            {
                "source": source,
                "chunk": 0,
                "chunks": 1,
                "original": text,
                "original_tokens": 128,
                "rewrite": {"copied": text, "refused": None}.get(status, kept),
                "rewrite_status": status,
                "meta": "{}",
            }
        )
    return found


def _differing(table: pa.Table, seed: int) -> pa.Table:
    """The part with ids and scores of its own."""
    draw = np.random.default_rng(seed)
    ids = pa.array([hashlib.sha256(f"{seed}-{row}".encode()).hexdigest() for row in range(PART)])
    none_R = np.array(table["rewrite"].is_null())
    for name in table.schema.names:
        values: Any = None
        if name in ("id", "doc_id"):
            values = ids
        elif name.startswith("original_") and pa.types.is_float32(table.schema.field(name).type):
            values = pa.array(draw.random(PART), pa.float32())
        elif pa.types.is_float32(table.schema.field(name).type):
            values = pa.array(draw.random(PART), pa.float32(), mask=none_R)
        if values is not None:
            table = table.set_column(table.schema.names.index(name), name, values)
    return table


def _verdicts(rows: Sequence[Row]) -> list[Row]:
    return [
        {"id": row["id"], "judge": "main", "criterion": "quality", "candidate": "original",
         "opponent": "rewrite", "order": order, "vote": 0, "answer": "1", "value": 0.6,
         "mass": 0.9, "status": "ok"}
        for row in rows
        for order in (0, 1)
    ]  # fmt: skip


def _write(url: str, rows: int) -> float:
    """Write the set; its megabytes."""
    table = pq.read_table(pa.BufferReader(to_parquet(_rows(), schema(CRITERIA, _MEASURES))))
    numbers = range(rows // PART)
    write_set(
        url,
        (_differing(table, number).to_pylist() for number in numbers),
        (_verdicts(_differing(table, number).to_pylist()) for number in numbers),
        criteria=list(CRITERIA),
        measures=list(_MEASURES),
        passes=[PassInfo(name="judge", fingerprint="", config={})],
    )
    return round(sum(Folder(url).sizes().values()) / 1e6, 1)


def _build(url: str) -> dict[str, float]:
    """In this process: make the page and write it."""
    from prewrite.base.report.command import write_report
    from prewrite.shards.report.command import make

    wall, cpu = time.perf_counter(), time.process_time()
    write_report("SET", make, [url], None, REPORT)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    page = Path(url, REPORT).read_text(encoding="utf-8")
    return {
        "seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "page_mb": round(len(page.encode()) / 1e6, 2),
        "shown_rows": page.count('<details class="row"'),
    }


def _open(url: str) -> dict[str, Any]:
    """Milliseconds that Chromium takes, the median of several loads."""
    times, version = [], ""
    for _ in range(OPENED):
        with browser.opened(Path(url, REPORT).absolute()) as page:
            times.append(
                page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
            )
            version = page.context.browser.version if page.context.browser else ""
    return {
        "load_ms": round(statistics.median(times)),
        "slowest_load_ms": round(max(times)),
        "chromium": version,
    }


def main(output: str) -> None:
    """Write each set, build its page in a fresh process, open it, and write the figures as JSON."""
    if browser.CHROMIUM is None:
        sys.exit("there is no Chromium on PATH")
    result: dict[str, Any] = {}
    for rows in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            url = f"{folder}/set"
            megabytes = _write(url, rows)
            command = [sys.executable, "-m", "benchmarks.report", "build", url]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            built = json.loads(done.stdout.splitlines()[-1])
            result[str(rows)] = {"disk_mb": megabytes} | built | _open(url)
    Path(output).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "build":
        print(json.dumps(_build(sys.argv[2])))
    else:
        main(sys.argv[1])

"""Large sets: opening, folding and verifying them, merging, and reading one row group of a file.

The sets have row groups of a few real rows, 50 a file, so that 100,000 of them fit on the disk;
what is measured depends on their number and not on their size. On an object store: a real S3 server
in a process of its own, behind a proxy that waits 20 ms before each answer and counts requests. No
store of a cloud was measured, so these figures are called simulated. Each opening runs in a fresh
process, whose imports are not counted.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint
from prewrite.shards import names
from prewrite.shards.commit_log import CommitLog, commit_log_of, part_of
from prewrite.shards.lock import OutputLock
from prewrite.shards.manifest import Manifest, PassInfo, Record
from prewrite.shards.merge import copied, merge
from prewrite.shards.parts import Part
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import row_group, schema
from prewrite.shards.summary import fold
from tests.faults.apart import results, scratch
from tests.pipeline.object_store import KEYS, new_file_system, serving
from tests.shards.making import OWNER, finish

SIZES = (1_000, 10_000, 100_000)
LINE = OWNER + "0000"
PER_FILE, PER_SPLIT, DELAY = 50, 200, 0.02
MERGED_MB, FILE_MB, GROUP_MB = 1024, 512, 4

_OPEN = """
import json, resource, sys, time
from prewrite.shards.reader import ShardSet
begun = time.perf_counter()
count = len(ShardSet(sys.argv[1]).parts)
seconds = time.perf_counter() - begun
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
print(json.dumps({"parts": count, "seconds": round(seconds, 2), "peak_mib": peak // 1024}))
"""
_VERIFY = """
import json, sys, time
from prewrite.shards.verify import verify
begun = time.perf_counter()
found = verify(sys.argv[1])
assert not found["problems"], found["problems"][:3]
seconds = round(time.perf_counter() - begun, 2)
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
print(json.dumps({"seconds": seconds, "peak_mib": peak // 1024}))
"""
_FOLD = """
import json, sys, time
from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint
from prewrite.shards.commit_log import commit_log_of
from prewrite.shards.summary import fold
from prewrite.shards.manifest import Manifest
folder = Folder(sys.argv[1])
manifest = Manifest.load(folder)
begun = time.perf_counter()
commit_log = commit_log_of(manifest, folder)
summary = fold(commit_log, sorted(commit_log.splits()))
print(json.dumps({"parts": len(summary.parts), "seconds": round(time.perf_counter() - begun, 2)}))
"""


def _rows(documents: int, chunks: int) -> list[dict[str, Any]]:
    lines = Path("configs/sample/wikipedia.jsonl").read_text(encoding="utf-8").splitlines()
    text = json.loads(lines[0])["text"][:500]
    return [
        {
            "id": f"{document:08d}-{chunk}",
            "doc_id": str(document),
            "source": "wikipedia",
            "chunk": chunk,
            "chunks": chunks,
            "original": f"{document} {chunk} {text}",
            "original_tokens": 120,
            "rewrite": f"{text} {document}",
            "rewrite_status": "ok",
            "meta": "{}",
        }
        for document in range(documents)
        for chunk in range(chunks)
    ]


def _large_rows() -> list[dict[str, Any]]:
    """Rows of `GROUP_MB` together that cannot be compressed further."""
    noise = os.urandom(GROUP_MB << 20).hex()  # two characters a byte, of four bits each
    size = len(noise) // 128
    return [row | {"meta": noise[n * size : (n + 1) * size]} for n, row in enumerate(_rows(128, 1))]


def _many(url: str, parts: int) -> None:
    """A complete set of so many small row groups, in files of 50."""
    rows = _rows(2, 2)
    with OutputLock(Folder(url)) as lock:
        folder = lock.folder
        made = row_group(rows, schema(()))
        folder.write("one", made.data)
        one = part_of("", "one", made, len(rows))
        first = names.rows_file("00000-00000", OWNER + "0000", url)
        some = [replace(one, name=str(number)) for number in range(PER_FILE)]
        places = [*copied(folder, some, first).values()]
        folder.remove("one")
        records = [_record(folder, places, first, number) for number in range(parts)]
        manifest = _manifest(OWNER)
        finish(folder, manifest, records)
        manifest.save(folder)


def _record(folder: Folder, places: Sequence[Part], first: str, number: int) -> Record:
    split, block = divmod(number, PER_SPLIT)
    file = names.rows_file("00000-00000", f"{OWNER}{number // PER_FILE:04x}", folder.url)
    if number % PER_FILE == 0 and file != first:
        shutil.copy(folder.path(first), folder.path(file))
    name = names.block_name(f"{split:05d}", block)
    place = replace(places[number % PER_FILE], name=name, file=file)
    return Record(
        split=f"{split:05d}",
        block=block,
        start=2 * block,
        stop=2 * block + 2,
        turn=1,
        line=LINE,
        after=LINE if block else "",
        documents=2,
        part=place,
        last=block == PER_SPLIT - 1,
        counts={"status:ok": place.rows},
    )


def _measured(program: str, url: str, **environment: str) -> dict[str, Any]:
    command = [sys.executable, "-c", program, url]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | environment
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _on_a_disk(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for parts in SIZES:
        url = str(folder / str(parts))
        _many(url, parts)
        found[str(parts)] = {
            "open": _measured(_OPEN, url),
            "fold": _measured(_FOLD, url),
            "verify": _measured(_VERIFY, url),
            "log_mb": round(sum(f.bytes for f in ShardSet(url).manifest.log) / 1e6, 1),
            "manifest_kb": round(Folder(url).sizes()[names.MANIFEST] / 1e3, 1),
        }
    return found


def _in_a_bucket(folder: Path) -> dict[str, Any]:
    """The same sets on a store with delays; of the largest one only what opening needs."""
    plan, log = folder / "plan", folder / "log"
    found: dict[str, Any] = {}
    plan.write_text(json.dumps({"delay": DELAY}))
    log.touch()
    with (
        serving(folder / "moto", "moto.server", "-H", "127.0.0.1", "-p", "0") as store,
        serving(
            folder / "proxy", "tests.pipeline.faulty_store", store, str(plan), str(log)
        ) as proxy,
    ):
        os.environ |= KEYS | {"AWS_ENDPOINT_URL": store}
        fs = new_file_system()
        fs.mkdir("sets")
        for parts in SIZES:
            whole = parts == SIZES[0]
            local = folder / str(parts)
            fs.put(str(local / "_prewrite"), f"sets/{parts}/_prewrite", recursive=True)
            if whole:
                fs.put(str(local / "data"), f"sets/{parts}/data", recursive=True)
            url, slow = f"s3://sets/{parts}", {"AWS_ENDPOINT_URL": proxy}
            found[str(parts)] = {}
            for name, program in (("open", _OPEN), ("fold", _FOLD), ("verify", _VERIFY)):
                if name != "verify" or whole:
                    log.write_text("")
                    measured = _measured(program, url, **slow)
                    requests = [json.loads(line)[0] for line in log.read_text().splitlines()]
                    found[str(parts)][name] = measured | {"requests": len(requests)}
    return found


def _merging(folder: Path) -> dict[str, Any]:
    """One GB of commits to files of 256 MB, against copying the bytes of the same files."""
    url = str(folder / "merged")
    with OutputLock(Folder(url)) as lock:
        manifest = _manifest(lock.folder.owner)
        manifest.save(lock.folder)
        commit_log = CommitLog(lock.folder, manifest)
        records = [*_committed(commit_log, url)]
        size = sum(record.part.bytes for record in records if record.part)
        plain = _seconds_of_a_copy(Path(url, "data"), folder / "copy")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun, cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(records), PER_FILE):
            merge(commit_log, lock.folder, records[start : start + PER_FILE])
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        summary = fold(commit_log_of(manifest, lock.folder), ["00000"])
    return {
        "gb": round(size / 1e9, 2),
        "files": len({part.file for part in summary.parts}),
        "seconds_per_gb": round(seconds / size * 1e9, 2),
        "cpu_seconds_per_gb": round(cpu / size * 1e9, 2),
        "copy_seconds_per_gb": round(plain / size * 1e9, 2),
        "more_memory_mib": peak // 1024,
    }


def _manifest(owner: str) -> Manifest:
    passes = [PassInfo(name="rewrite", fingerprint=fingerprint({}), config={})]
    return Manifest(owners=[owner], passes=passes, inputs=[])


def _committed(commit_log: CommitLog, url: str) -> Iterator[Record]:
    """`MERGED_MB` of parts, each in a file of its own."""
    rows = _large_rows()
    made = row_group(rows, schema(()))
    for number in range(MERGED_MB // GROUP_MB):
        name = names.block_name("00000", number)
        file = names.rows_file(name, commit_log.token(), url)
        commit_log.folder.write(file, made.data)
        yield _plain(part_of(name, file, made, len(rows)), number)


def _seconds_of_a_copy(source: Path, to: Path) -> float:
    os.sync()  # what was written before
    begun = time.perf_counter()
    shutil.copytree(source, to)
    os.sync()
    return time.perf_counter() - begun


def _plain(part: Part, block: int) -> Record:
    return Record(
        split="00000",
        block=block,
        start=block,
        stop=block + 1,
        turn=1,
        line=LINE,
        after=LINE if block else "",
        documents=1,
        part=part,
    )


def _large_set(url: str) -> None:
    """A set with one file of `FILE_MB`."""
    with OutputLock(Folder(url)) as lock:
        rows = _large_rows()
        made = row_group(rows, schema(()))
        lock.folder.write("one", made.data)
        one = part_of("", "one", made, len(rows))
        count = (FILE_MB << 20) // one.bytes
        some = [replace(one, name=names.block_name("00000", n)) for n in range(count)]
        file = names.rows_file("00000-00000", OWNER + "0000", url)
        placed = copied(lock.folder, some, file)
        manifest = _manifest(OWNER)
        finish(lock.folder, manifest, [_plain(p, n) for n, p in enumerate(placed.values())])
        manifest.save(lock.folder)


def _one_of_a_file() -> dict[str, Any]:
    """Bytes that are read to open a set with one large file, and to read one row group."""
    url = "memory://large"
    _large_set(url)
    fs, read = Folder(url).fs, list[int]()
    whole = type(fs).cat_file

    def counted(self: Any, path: str, start: Any = None, end: Any = None, **named: Any) -> bytes:
        data: bytes = whole(self, path, start, end, **named)
        read.append(len(data))
        return data

    type(fs).cat_file = counted
    shards = ShardSet(url)
    part = shards.parts[len(shards.parts) // 2]
    rows_read = sum(batch.num_rows for batch in shards.batches(part))
    type(fs).cat_file = whole
    assert rows_read == part.rows
    return {
        "file_mb": round(part.file_bytes / 1e6, 1),
        "row_groups": part.groups,
        "read_mb": round(sum(read) / 1e6, 2),
        "share": round(sum(read) / part.file_bytes, 4),
        "reads": len(read),
    }


def _kills() -> dict[str, Any]:
    """An upgrade and a takedown, killed at each step: the kills, and those that cost something."""
    found = {}
    for command in ("upgrade", "remove"):
        with scratch() as folder:
            each = results("kill_changes", [command, folder, 1, 1])
        found[command] = {"kills": len(each), "lost": sum(bool(fault) for _, fault in each)}
    return found


def main(output: str) -> None:
    """Measure all, and write the figures as JSON."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        result = {"disk": _on_a_disk(folder), "simulated_s3": _in_a_bucket(folder)}
        result["merge"], result["one_row_group"] = _merging(folder), _one_of_a_file()
    result["kills"] = _kills()
    Path(output).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])

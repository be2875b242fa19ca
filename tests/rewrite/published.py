"""Small corpora of real text in the published form of each layout: folders, names, fields, packing.

Each function of WRITERS writes one below `folder`; `python -m tests.rewrite.published FOLDER`
writes all of them.
"""

import gzip
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

SAMPLE = Path(__file__).parents[2] / "configs/sample"
BULLETS = "\u2022\u2023\u25b6\u25c0\u25e6\u25a0\u25a1\u25aa\u25ab\u2013"
SHARD = "2023-06/0000/en_head"


def texts() -> list[str]:
    """Real text: the documents of the sample."""
    files = sorted(SAMPLE.glob("*.jsonl"))
    return [json.loads(line)["text"] for file in files for line in file.read_text().splitlines()]


def jsonl(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def put(path: Path, data: bytes) -> None:
    """Write `data` packed as the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pack: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstandard.compress}
    path.write_bytes(pack.get(path.suffix, bytes)(data))


def redpajama_v1_hub(folder: Path) -> None:
    """As the data set's loading script gives it: the subset in the record, `meta` as a text."""
    subsets = ("arxiv", "c4", "common_crawl")
    for number, subset in enumerate(subsets):
        records = [
            {"text": text, "meta": repr({"url": None, "n": n}), "red_pajama_subset": subset}
            for n, text in enumerate(texts()[number::3])
        ]
        put(folder / f"{subset}_sample.jsonl", jsonl(records))


def redpajama_v1_raw(folder: Path) -> None:
    """The files that the list of URLs names: the subset in the path only."""
    arxiv = [{"text": t, "meta": {"arxiv_id": "1", "language": "en"}} for t in texts()[0::3]]
    put(folder / "arxiv/arxiv_023827cd-7ee8.jsonl", jsonl(arxiv))
    crawl = [
        {"text": t, "pred_label": "__label__wiki", "pred_label_prob": 0.6, "wiki_prob": 0.6,
         "source": f"cc/2019-30/en_head_0000.json.gz/line{n}"}
        for n, t in enumerate(texts()[1::3])
    ]  # fmt: skip
    name = "en_head_0000.json.gz.dedup.classifier.jsonl.zst"
    put(folder / "common_crawl/2019-30" / name, jsonl(crawl))
    wiki = [{"text": t, "meta": {"title": "A", "language": "en"}} for t in texts()[2::3]]
    put(folder / "wikipedia/wiki.jsonl", jsonl(wiki))


def redpajama_v2(folder: Path) -> None:
    """Documents, their quality signals and the list of duplicates, side by side."""
    found = texts()
    documents = [_v2_document(text) for text in found]
    signals = [_v2_signals(text, row) for row, text in enumerate(found)]
    put(folder / f"documents/{SHARD}.json.gz", jsonl(documents))
    put(folder / f"quality_signals/{SHARD}.signals.json.gz", jsonl(signals))
    listed = [
        {"shard_id": f"{SHARD}.json.gz", "doc_id": f"{SHARD}.json.gz/{row}", "digest": "X"}
        for row in (1, 4)
    ]
    parquet(folder / f"duplicates/{SHARD}.duplicates.parquet", listed)
    minhash = [{"shard_id": SHARD, "id": "x", "id_int": 1, "signature_sim1.0": [b"a"]}]
    parquet(folder / f"minhash/{SHARD}.minhash.parquet", minhash)


def _v2_document(text: str) -> dict[str, Any]:
    return {
        "url": "https://www.example.org/a", "date_download": "2023-01-26T22:08:38Z",
        "digest": f"sha1:{hashlib.sha1(text.encode()).hexdigest()}", "length": len(text),
        "nlines": len(text.splitlines()), "source_domain": "www.example.org", "title": "A",
        "raw_content": text, "cc_segment": "crawl-data/CC-MAIN-2023-06/x.warc.wet.gz",
        "original_nlines": 90, "original_length": 9000, "line_ids": [0, 1], "language": "en",
        "language_score": 0.98, "perplexity": perplexity(text), "bucket": "head",
    }  # fmt: skip


def perplexity(text: str) -> float:
    """A number that differs from text to text, in place of the language model's."""
    return 100.0 + len(text) % 500


def _v2_signals(text: str, row: int) -> dict[str, Any]:
    lines, length = text.splitlines(), len(text)
    words = re.findall(r"\w+", text.lower())
    pairs = Counter(zip(words, words[1:], strict=False)).most_common(1)
    (top, count) = pairs[0] if pairs else (("", ""), 0)
    whole = {
        "ccnet_perplexity": perplexity(text),
        "ccnet_bucket": 0.0,
        "rps_doc_word_count": float(len(words)),
        "rps_doc_mean_word_length": sum(map(len, words)) / max(len(words), 1),
        "rps_doc_symbol_to_word_ratio": sum(map(text.count, ("#", "...", "…"))) / len(words),
        "rps_doc_frac_chars_top_2gram": count * sum(map(len, top)) / max(sum(map(len, words)), 1),
        "rps_doc_ldnoobw_words": 5.0 if row % 2 else 0.0,
        "rps_doc_ut1_blacklist": float(row) if row % 3 else None,
    }
    by_line = [[0, len(one), float(one.strip()[:1] in BULLETS)] for one in lines if one.strip()]
    return {
        "id": f"{SHARD}.json.gz/{row}",
        "id_int": row,
        "metadata": {"cc_net_source": f"{SHARD}.json.gz", "language": "en", "url": "x"},
        "quality_signals": {name: [[0, length, score]] for name, score in whole.items()}
        | {"rps_lines_start_with_bulletpoint": by_line},
    }


def slimpajama(folder: Path) -> None:
    """Subsets in the records, no ids."""
    for chunk in (1, 2):
        records = [
            {"text": text, "meta": {"redpajama_set_name": f"RedPajama{name}"}}
            for text, name in zip(texts()[chunk - 1 :: 2], ["C4", "Wikipedia"] * 99, strict=False)
        ]
        put(folder / f"train/chunk{chunk}/example_train_0.jsonl.zst", jsonl(records))


def dolma(folder: Path) -> None:
    """Ids that two sources share."""
    for source in ("c4", "wiki"):
        records = [
            {"id": str(n), "text": text, "source": source, "added": "2023-04-11T09:57:03.044571Z",
             "created": "2020-01-17T12:48:23Z", "version": "v0", "metadata": {"n": n}}
            for n, text in enumerate(texts()[source == "wiki" :: 2])
        ]  # fmt: skip
        put(folder / f"{source}-0000.json.gz", jsonl(records))


def parquet(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(records), path, row_group_size=4)


def _fineweb(text: str, n: int) -> dict[str, Any]:
    return {
        "text": text, "id": f"<urn:uuid:{n:08d}>", "dump": "CC-MAIN-2013-20",
        "url": "http://example.org", "date": datetime(2013, 5, 18, tzinfo=UTC),
        "file_path": "s3://commoncrawl/crawl-data/CC-MAIN-2013-20/x.warc.gz", "language": "en",
        "language_score": 0.97, "token_count": len(text) // 4,
    }  # fmt: skip


def fineweb(folder: Path) -> None:
    """Parquet, a folder a crawl."""
    records = [_fineweb(text, n) for n, text in enumerate(texts())]
    parquet(folder / "data/CC-MAIN-2013-20/000_00000.parquet", records)


def fineweb_edu(folder: Path) -> None:
    """FineWeb with an educational score."""
    records = [_fineweb(t, n) | {"score": 2.7, "int_score": 3} for n, t in enumerate(texts())]
    parquet(folder / "data/CC-MAIN-2013-20/train-00000-of-00014.parquet", records)


def plain(folder: Path) -> None:
    """Text and nothing else."""
    put(folder / "mine/a.jsonl", jsonl([{"text": text} for text in texts()]))


WRITERS = {
    "redpajama-v1": redpajama_v1_hub,
    "redpajama-v1 raw": redpajama_v1_raw,
    "redpajama-v2": redpajama_v2,
    "slimpajama": slimpajama,
    "dolma": dolma,
    "fineweb": fineweb,
    "fineweb-edu": fineweb_edu,
    "text": plain,
}

if __name__ == "__main__":
    for name, write in WRITERS.items():
        write(Path(sys.argv[1], name.replace(" ", "-")))

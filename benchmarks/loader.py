"""What loading costs: `python -m benchmarks.loader FILE [MEGABYTES]`, 1 GB of text by default.

A set of that much text (originals and rewrites of 128-token chunks, words drawn from the sample
corpus; four parts over and over) is written, then loaded as a training run does: batches of 64
samples in sequences of 8,192 tokens. Tokens are those of the sequences, without padding; CPU time
is that of all threads. The limit is the tokenizers library alone on the same texts, in calls of as
many texts as a batch has, in the same process. Both take turns, and the share is the median of the
rounds, for a machine may be slower in one than in another. Seconds to the first batch are those of
a new process, in mid-epoch, with and without the index.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prewrite.base.files import Folder
from prewrite.engine.tokenizer import PlainTokenizer, load_tokenizer
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import Row
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.loader import Loader
from tests.shards.making import merge_set, write_set

MODEL = "models/smollm2-135m-instruct"
BATCHES, ROUNDS = 12, 7
SAMPLES, CALL = 64, 800


def _words() -> list[str]:
    files = sorted(Path("configs/sample").glob("*.jsonl"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return " ".join(json.loads(line)["text"] for line in lines).split()


def _documents(rows: int, seed: int) -> Iterator[Row]:
    """Rows of documents of 1 to 40 chunks; chunks of 100 words are some 128 tokens."""
    draw, words = np.random.default_rng(seed), np.array(_words())
    made = 0
    while made < rows:
        chunks = min(int(draw.lognormal(1.5, 1)) + 1, 40)
        for chunk in range(chunks):
            original, rewrite = (" " + " ".join(draw.choice(words, 95)) for _ in range(2))
            yield {
                "id": f"{seed}-{made}",
                "doc_id": f"{seed}-{made - chunk}",
                "source": "sample",
                "chunk": chunk,
                "chunks": chunks,
                "original": original,
                "original_tokens": 128,
                "rewrite": rewrite,
                "rewrite_status": "ok",
                "original_score": 1.0,
                "rewrite_score": float(draw.random()) * 2,
                "meta": "{}",
            }
            made += 1


def _write(url: str, megabytes: int) -> int:
    """Write the set, its row groups in files as a run leaves them; its bytes on disk."""
    some = [list(_documents(8192, seed)) for seed in range(4)]
    sizes = [sum(len(row["original"]) + len(row["rewrite"]) for row in rows) for rows in some]
    parts, text = 0, 0
    while text < megabytes * 1_000_000:
        text += sizes[parts % len(some)]
        parts += 1
    write_set(url, (some[n % len(some)] for n in range(parts)), criteria=["quality"])
    merge_set(url)
    return sum(Folder(url).sizes().values())


def _config(url: str) -> TrainConfig:
    phase = {
        "name": "dpo",
        "objective": "dpo",
        "filter": "rewrite_score > 0.1",
        "until": {"step": 1},
    }
    return TrainConfig.model_validate(
        {
            "data": [{"set": url}],
            "output": "unused",
            "model": {"path": MODEL},
            "batch": {"samples": SAMPLES},
            "optimizer": {"warmup_steps": 0},
            "curriculum": [phase],
        }
    )


def _measure(url: str) -> dict[str, Any]:
    """In this process: seconds to the first batch, then `ROUNDS` of the loader and the limit in
    turn.
    """
    config, tokenizer = _config(url), load_tokenizer(MODEL)
    begun = time.perf_counter()
    with Loader(config, tokenizer, 1, 2, f"{url}/cache") as loader:
        start = loader.sizes[url] // 2
        loader.batch(start, config.curriculum[0])
        seconds = time.perf_counter() - begun
        texts, found = _texts(url), []
        for number in range(ROUNDS):
            first = start + (1 + number * BATCHES) * SAMPLES
            found.append((_loaded(loader, config, first), _limit(tokenizer, texts)))
    shares = [own["tokens_per_cpu_s"] / limit for own, limit in found]
    middle = sorted(range(ROUNDS), key=shares.__getitem__)[ROUNDS // 2]
    own, limit = found[middle]
    return {
        "seconds_to_first_batch": round(seconds, 2),
        **own,
        "tokenizer_tokens_per_cpu_s": round(limit),
        "share_of_limit": round(shares[middle], 2),
        "shares_of_limit": [round(share, 2) for share in shares],
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _loaded(loader: Loader, config: TrainConfig, first: int) -> dict[str, float]:
    """Tokens a second of the batches from `first` on. As many are made ahead at the end as at the
    begin, so the CPU time is that of `BATCHES`.
    """
    wall, cpu = time.perf_counter(), _settled()
    numbers = [first + n * SAMPLES for n in range(BATCHES)]
    batches = [loader.batch(number, config.curriculum[0]) for number in numbers]
    wall, cpu = time.perf_counter() - wall, _settled() - cpu
    used, padding = sum(b.used for b in batches), sum(b.padding for b in batches)
    return {
        "tokens_per_cpu_s": round(used / cpu),
        "tokens_per_s": round(used / wall),
        "padding": round(padding / (padding + used), 4),
    }


def _settled() -> float:
    """CPU seconds of this process, once no thread of it works any more."""
    before, now = -1.0, time.process_time()
    while now - before > 0.01:
        time.sleep(0.1)
        before, now = now, time.process_time()
    return now


def _texts(url: str) -> list[str]:
    shards = ShardSet(url)
    table = next(shards.batches(shards.parts[0], ["original", "rewrite"], 8192))
    return [str(text) for name in table.column_names for text in table[name].to_pylist()]


def _limit(tokenizer: PlainTokenizer, texts: Sequence[str]) -> float:
    """Tokens per CPU-second of the tokenizer alone, in calls of `CALL` texts: one call with all of
    them is slower by a quarter.
    """
    tokens, cpu = 0, time.process_time()
    for at in range(0, len(texts), CALL):
        tokens += sum(len(item.ids) for item in tokenizer.encode_batch(texts[at : at + CALL]))
    return tokens / (time.process_time() - cpu)


def main(output: str, megabytes: int = 1000) -> None:
    """Write the set, measure in two fresh processes, and write the figures as JSON."""
    result: dict[str, Any] = {"text_mb": megabytes}
    with tempfile.TemporaryDirectory() as folder:
        result["disk_mb"] = round(_write(f"{folder}/set", megabytes) / 1e6)
        for name in ("without_index", "resumed"):
            command = [sys.executable, "-m", "benchmarks.loader", "one", f"{folder}/set"]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            result[name] = json.loads(done.stdout)
    Path(output).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "one":
        print(json.dumps(_measure(sys.argv[2])))
    else:
        main(sys.argv[1], *map(int, sys.argv[2:]))

"""Slurm: what is submitted, and what the submitted scripts make when they are really run.

Slurm's programs are stand-ins on PATH that keep what they are given. `Queue.drain` then is the
cluster: it runs the scripts in the order of their dependencies, array tasks one after the other.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from prewrite.base.config import load
from prewrite.pipeline.steps import ranges
from prewrite.prompts.config import LengthConfig
from prewrite.prompts.load import length_of, load_template
from prewrite.rewrite.config import RewriteRecipe
from prewrite.shards import names
from prewrite.shards.reader import ShardSet
from tests.commands import rewrite as rewrite_command
from tests.engine.fault_server import Fault, FaultServer
from tests.pipeline.runs import assert_whole, corpus_lines, ended, recipe, rows

FILES, DOCUMENTS = 6, 5

SBATCH = """#!/usr/bin/env python3
import json, os, pathlib, sys
queue = pathlib.Path(os.environ["QUEUE"])
if (queue / "refuse").exists() and len(list(queue.glob("*.json"))) >= int((queue / "refuse").read_text()):
    sys.exit("sbatch: error: invalid partition specified: gpuu")
number = 100 + len(list(queue.glob("*.json")))
job = {"id": number, "arguments": sys.argv[1:], "script": pathlib.Path(sys.argv[-1]).read_text()}
(queue / f"{number}.json").write_text(json.dumps(job))
print(f"{number};cluster")
"""  # noqa: E501
SQUEUE = """#!/bin/sh
cat "$QUEUE/pending" 2> /dev/null || true
"""
SCANCEL = """#!/bin/sh
echo "$@" >> "$QUEUE/cancelled"
"""


class Queue:
    """The folder in which the stand-ins keep things."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "queue"
        programs = folder / "bin"
        self.folder.mkdir()
        programs.mkdir()
        for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", SCANCEL)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        patch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        patch.setenv("QUEUE", str(self.folder))
        self.codes: dict[int, list[int]] = {}
        self.said: dict[int, str] = {}

    def jobs(self) -> list["Job"]:
        return [Job(json.loads(path.read_text())) for path in sorted(self.folder.glob("*.json"))]

    def drain(self, broken: Sequence[str] = ()) -> None:
        """Run every job that has not been run, unless what it depends on forbids it."""
        for job in self.jobs():
            if job.id in self.codes:
                continue
            kind, before = job.after
            if kind == "afterok" and any(self.codes[before]):
                self.codes[job.id] = [1]  # --kill-on-invalid-dep
                continue
            self.codes[job.id] = [
                self._run(job, index) for index in job.indices if index not in broken
            ]
            if len(self.codes[job.id]) < len(job.indices):
                self.codes[job.id].append(1)

    def _run(self, job: "Job", index: str) -> int:
        code, self.said[job.id] = job.run(index)
        return code


class Job:
    """One job as sbatch got it."""

    def __init__(self, kept: dict[str, object]) -> None:
        self.id, self.script = int(str(kept["id"])), str(kept["script"])
        self.arguments = list(map(str, kept["arguments"]))  # type: ignore[call-overload]

    @property
    def directives(self) -> dict[str, str]:
        return dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", self.script, re.MULTILINE))

    @property
    def after(self) -> tuple[str, int]:
        found = [one for one in self.arguments if one.startswith("--dependency=")]
        kind, _, number = (
            found[0].removeprefix("--dependency=").partition(":") if found else ("", "", "0")
        )
        return kind, int(number)

    @property
    def indices(self) -> list[str]:
        """The array's, or one empty one."""
        found: list[str] = []
        for piece in self.directives.get("array", "").partition("%")[0].split(","):
            first, _, last = piece.partition("-")
            found += map(str, range(int(first), int(last or first) + 1)) if first else [""]
        return found

    def run(self, index: str) -> tuple[int, str]:
        """Run the script as Slurm would; its exit code and errors."""
        environment = os.environ | ({"SLURM_ARRAY_TASK_ID": index} if index else {})
        done = subprocess.run(
            ["bash"],
            input=self.script,
            env=environment,
            cwd=self.directives["chdir"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    return Queue(tmp_path, monkeypatch)


class Submitted:
    """One recipe, submitted as often as a test likes."""

    def __init__(
        self, folder: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        corpus = folder / "corpus"
        corpus.mkdir()
        for number in range(FILES):
            (corpus / f"{number}.jsonl").write_bytes(corpus_lines(number, DOCUMENTS))
        self.output, self.capsys = str(folder / "set"), capsys
        self.config = folder / "recipe.yaml"
        run = {
            "executor": "slurm",
            "tasks": 3,
            "workers": 2,
            "slurm": {"logs": str(folder / "logs")},
        }
        text = recipe(f"{corpus}/*.jsonl", self.output, server.url, judge=False, **run)
        self.config.write_text(text)

    def __call__(self, *overrides: str) -> tuple[int, str, str]:
        """The command in this process: its exit code, output and errors."""
        self.capsys.readouterr()
        code = rewrite_command(["--config", str(self.config), *overrides])
        return code, *self.capsys.readouterr()


@pytest.fixture
def submit(tmp_path: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]) -> Submitted:
    return Submitted(tmp_path, server, capsys)


@pytest.mark.slow
def test_both_passes_are_made_by_the_submitted_jobs(
    submit: Submitted, server: FaultServer, queue: Queue
) -> None:
    judge = "judge={engine: main, criteria: [quality, safety]}"
    code, out, err = submit(judge, "run.tasks=2")
    assert code == 0, err
    assert len(server.calls) == 0, "the submitting machine did the work"
    name = re.search(r"squeue --name=(prewrite-\w{8});", out)
    assert name and "job 100: tasks 0-1, then job 101" in out
    tasks, finish, judging, end = queue.jobs()
    assert [job.after for job in (finish, judging, end)] == [
        ("afterany", 100), ("afterok", 101), ("afterany", 102),
    ]  # fmt: skip
    assert tasks.directives["array"] == judging.directives["array"] == "0-1%2"
    assert "array" not in finish.directives
    assert {job.directives["job-name"] for job in queue.jobs()} == {name[1]}
    queue.drain()
    assert queue.codes == {100: [0, 0], 101: [0], 102: [0, 0], 103: [0]}
    for url in (submit.output, f"{submit.output}/_rewrites"):
        assert_whole(url)
        assert ShardSet(url).manifest.documents == FILES * DOCUMENTS
    assert None not in {
        row["original_quality"] for row in rows(submit.output, ["original_quality"])
    }
    code, out, _ = submit(judge)
    assert (code, len(queue.jobs())) == (0, 4)
    assert "the set is complete; nothing to do" in out


@pytest.mark.slow
def test_what_a_failed_task_left_is_submitted_again_in_other_pieces(
    submit: Submitted, server: FaultServer, queue: Queue
) -> None:
    assert submit("run.rows_per_part=4")[0] == 0
    queue.drain(broken=["2"])
    assert queue.codes == {100: [0, 0, 1], 101: [1]}
    sentence = f"error: {submit.output}: 1 of 3 tasks of rewrite have not ended: 2; run the first"
    assert sentence in queue.said[101]
    code, out, _ = submit("run.tasks=5", "run.workers=1")
    # Task 2 of 3 had the files 3 and 4; of 5 tasks those are the tasks 3 and 4.
    assert code == 0 and "job 102: tasks 3-4, then job 103" in out
    assert queue.jobs()[2].directives["array"] == "3-4%1"
    queue.drain()
    assert queue.codes[102] + queue.codes[103] == [0, 0, 0]
    assert_whole(submit.output)
    manifest = ShardSet(submit.output).manifest
    assert manifest.documents == FILES * DOCUMENTS
    assert len(server.calls) == manifest.rows == manifest.passes[0].usage.requests


@pytest.mark.slow
def test_a_task_told_to_end_commits(submit: Submitted, server: FaultServer, queue: Queue) -> None:
    """Slurm's signal before the time limit reaches Python, since the script execs it."""
    assert submit("run.rows_per_part=4", "run.tasks=1")[0] == 0
    job = queue.jobs()[0]
    assert job.directives["signal"] == "B:TERM@120"
    server.plan = lambda call: Fault(seconds=0.1)
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": "0"}
    process = subprocess.Popen(
        ["bash", "-c", job.script], env=environment, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 100
    while not list(Path(submit.output, names.RECORDS).glob("*.json")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert (code, err.splitlines()[-1]) == (
        130, "interrupted after a clean commit; the same command continues",
    )  # fmt: skip
    server.plan = None
    asked = len(server.calls)
    assert submit("run.executor=local")[0] == 0, "the rest, here"
    assert_whole(submit.output)
    assert len(server.calls) == ShardSet(submit.output).manifest.rows > asked


def test_what_slurm_is_asked_for(submit: Submitted, queue: Queue) -> None:
    asked = (
        "run.slurm={partition: gpu, time: '24:00:00', cpus_per_task: 8, mem_per_cpu_gb: 6, "
        "sbatch_args: {account: lab, mem-per-cpu: 9G}, env_command: module load cuda}"
    )
    code, _, err = submit(asked, f"run.slurm.logs={queue.folder}", "run.gpus_per_task=2")
    assert code == 0, err
    tasks, finish = queue.jobs()
    assert tasks.directives.items() >= {
        "partition": "gpu", "time": "24:00:00", "cpus-per-task": "8", "gpus": "2",
        "account": "lab", "mem-per-cpu": "9G", "requeue": "",
    }.items()  # fmt: skip
    assert "gpus" not in finish.directives and finish.directives["cpus-per-task"] == "1"
    assert tasks.script.index("module load cuda") < tasks.script.index("exec ")


def test_a_job_accepts_the_lengths_that_its_template_names(
    submit: Submitted, queue: Queue, tmp_path: Path
) -> None:
    """As the same recipe does here: no default of the recipe outweighs them."""
    changes = ["rewrite.template=questions", "rewrite.templates={questions: null, facts: null}"]
    assert submit(*changes)[0] == 0
    (written,) = (tmp_path / "logs").rglob("recipe.yaml")
    recipes = load(RewriteRecipe, str(written)), load(RewriteRecipe, str(submit.config), changes)
    found, here = (
        [length_of(one, load_template(one.template)) for one in recipe.by_text().values()]
        for recipe in recipes
    )
    assert found == here and found[0] != LengthConfig()


def test_no_secret_and_no_pickle_lies_beside_the_scripts(
    submit: Submitted, queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-very-secret")
    assert submit("engines.main.api_key_env=SOME_KEY", "run.tasks=5")[0] == 0
    files = [path for path in (tmp_path / "logs").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"recipe.yaml", "rewrite-tasks.sh", "rewrite-finish.sh"}
    assert not [path for path in files if "sk-very-secret" in path.read_text()]
    kept = load(RewriteRecipe, next(str(path) for path in files if path.suffix == ".yaml"))
    assert kept == load(
        RewriteRecipe, str(submit.config), ["engines.main.api_key_env=SOME_KEY", "run.tasks=5"]
    )


def test_a_second_submission_waits_for_the_first(submit: Submitted, queue: Queue) -> None:
    (queue.folder / "pending").write_text("100_1\n101\n")
    code, _, err = submit()
    assert (code, queue.jobs()) == (1, [])
    assert "jobs of this run are in the queue: 100_1, 101; wait for them, or stop them" in err


def test_a_refused_job_takes_back_those_before_it(submit: Submitted, queue: Queue) -> None:
    (queue.folder / "refuse").write_text("2")
    code, _, err = submit("judge={engine: main, criteria: [quality]}")
    assert code == 1
    assert err == "error: sbatch failed: sbatch: error: invalid partition specified: gpuu\n"
    assert (queue.folder / "cancelled").read_text() == "100 101\n"


def test_another_configuration_is_refused_before_anything_is_submitted(
    submit: Submitted, queue: Queue
) -> None:
    assert submit()[0] == 0
    assert submit("run.step=rewrite:1")[0] == 0
    for step in ("null", "rewrite:2"):
        code, _, err = submit("chunking.tokens=32", f"run.step={step}")
        assert code == 2 and "chunking.tokens: 48 → 32" in err
    assert len(queue.jobs()) == 2


MISTAKES = [
    (
        "run.step=rewrite:3",
        2,
        "run.step: found 'rewrite:3'; accepted: PASS:start, PASS:0 to PASS:2",
    ),
    ("run.step=judge:0", 2, "run.step: found 'judge:0'; accepted: PASS:start"),
    ("run.step=rewrite:1", 1, "rewrite was not started; run it with run.step=rewrite:start"),
    ("run.slurm.time=24:00:00", 2, "run.slurm.time: found 86400; accepted: a text in quotes"),
    ("run.executor=slurmm", 2, "run.executor: found 'slurmm'; accepted: 'local', 'slurm' or 'ray'"),
    ("run.tasks=2", 2, "run.executor: found 'slurm', but there is no squeue on PATH"),
]


@pytest.mark.parametrize(("override", "code", "sentence"), MISTAKES, ids=[m[2] for m in MISTAKES])
def test_a_mistake_is_one_sentence(
    submit: Submitted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    override: str,
    code: int,
    sentence: str,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    got, _, err = submit(override)
    assert got == code and sentence in err and len(err.splitlines()) == 1, err
    assert not Path(submit.output).exists()


def test_steps_without_slurm(submit: Submitted, server: FaultServer) -> None:
    """For schedulers that only start commands: any order, and some of them twice."""
    for step in ("start", "1", "0", "1", "start", "2", "finish", "finish", "0"):
        code, _, err = submit("run.executor=local", f"run.step=rewrite:{step}")
        assert code == 0, err
    assert_whole(submit.output)
    assert len(server.calls) == ShardSet(submit.output).manifest.rows


def test_the_finish_looks_at_what_failed_in_all_tasks(
    submit: Submitted, server: FaultServer, queue: Queue
) -> None:
    """No task has seen enough to end; what failed is submitted again once the server is mended."""
    local = "run.executor=local"
    server.plan = lambda call: Fault(400) if call.number % 30 else None
    for step in ("start", "0", "1", "2"):
        code, _, err = submit(local, f"run.step=rewrite:{step}")
        assert code == 0, err
    rows = len(server.calls)
    code, _, err = submit(local, "run.step=rewrite:finish")
    assert code == 1 and f"of {rows} rows that were asked about failed, more than" in err
    assert "engine: HTTP 400: scripted 400" in err
    assert ShardSet(submit.output).manifest.status == "interrupted"
    server.plan = None
    code, out, err = submit()
    assert code == 0 and "job 100: tasks 0-2, then job 101" in out, err
    for step in ("2", "1", "0", "finish"):
        code, _, err = submit(local, f"run.step=rewrite:{step}")
        assert code == 0, err
    assert ShardSet(submit.output).manifest.statuses == {"ok": rows}
    assert len(server.calls) == 2 * rows
    assert_whole(submit.output)


def test_ranges() -> None:
    assert ranges([0]) == "0"
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"

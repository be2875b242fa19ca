"""Submits a run to Slurm: for each pass an array job of its tasks and a job that finishes its set.

datatrove's Slurm executor writes the batch script, but what runs in it is our own command with
`run.step` (`pipeline.steps`), not datatrove's pickle of the pipeline. A pickle would run whatever
somebody put into it, would tie all nodes to the submitter's versions, and would end with a
traceback; a command reads the recipe and ends with one sentence and an exit code. Nothing waits on
the submitting machine: the jobs depend on each other.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from datatrove.executor.slurm import SlurmPipelineExecutor
from loguru import logger

from prewrite.base.config import Recipe
from prewrite.base.errors import ConfigError, PrewriteError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.run import finished
from prewrite.pipeline.steps import PlannedPass, ranges, start, unfinished

logger.disable("datatrove")  # it logs to the terminal; people get our own sentences

_SECONDS_TO_COMMIT = 120
"""So long before its time limit a task is told to commit and end."""


def submit(command: str, recipe: Recipe, stages: Sequence[PlannedPass], run: RunConfig) -> str:
    """Submit what is left of `stages` as steps of `prewrite COMMAND`; returns what to tell.
    One of them at least is not complete.

    Refused while jobs of an earlier submission for this output are in the queue.
    """
    name = job_name(recipe.output)
    if jobs := _call("squeue", "--noheader", "--format=%i", f"--name={name}").split():
        raise PrewriteError(
            f"{recipe.output}: jobs of this run are in the queue: {', '.join(jobs)}; wait for "
            f"them, or stop them: scancel --name={name}"
        )
    while finished(stages[0].job, stages[0].output):
        stages = stages[1:]
    start(stages[0], run)
    folder = Path(run.slurm.logs, name).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    # As it was given: a default that is written out would outweigh what a template says.
    given = recipe.model_dump(mode="json", exclude_unset=True)
    text = yaml.safe_dump(given, sort_keys=False)
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    lines = _submit_all(_Script(command, folder, name, run), stages, run.tasks)
    return "\n".join(
        [
            "submitted to Slurm:",
            *lines,
            f"  look      squeue --name={name}; logs and scripts are in {folder}",
            f"  stop      scancel --name={name}",
            "  continue  the same command, once the queue is empty: it submits what is left",
        ]
    )


def job_name(output: str) -> str:
    """The name of all jobs that make the set at `output`."""
    folder = Folder(output)
    return f"prewrite-{fingerprint([str(folder.fs.protocol), folder.root])[:8]}"


def _submit_all(script: "_Script", stages: Sequence[PlannedPass], tasks: int) -> list[str]:
    """A line for each pass; when one job is refused, those before it are taken back."""
    sent: list[str] = []
    lines = []
    try:
        for number, stage in enumerate(stages):
            job = stage.job
            ranks = list(range(tasks))
            if number == 0:
                ranks = unfinished(job, job.source.splits(), stage.output, tasks)
            array = ""
            if ranks:
                array = script.send(job.name, ranks, [f"afterok:{sent[-1]}"] if sent else [])
                sent.append(array)
            sent.append(script.send(job.name, None, [f"afterany:{array}"] if array else []))
            work = f"job {array}: tasks {ranges(ranks)}, then " if array else ""
            lines.append(f"  {job.name:<9} {work}job {sent[-1]}: finishes {stage.output}")
    except PrewriteError:
        if sent:
            _call("scancel", *sent)
        raise
    return lines


@dataclass(frozen=True)
class _Script:
    """Batch scripts of one run, in `folder`."""

    command: str
    folder: Path
    name: str
    run: RunConfig

    def send(self, stage: str, ranks: list[int] | None, after: list[str]) -> str:
        """Submit the tasks `ranks` of a pass, or without them its finish; returns the job's id."""
        step = f"{stage}:finish" if ranks is None else f"{stage}:$SLURM_ARRAY_TASK_ID"
        path = self.folder / f"{stage}-{'finish' if ranks is None else 'tasks'}.sh"
        path.write_text(self._text(step, ranks, path), encoding="utf-8")
        # A job whose dependency failed goes, instead of waiting in the queue for ever.
        chain = [f"--dependency={','.join(after)}", "--kill-on-invalid-dep=yes"] if after else []
        return _call("sbatch", "--parsable", *chain, str(path)).strip().partition(";")[0]

    def _text(self, step: str, ranks: list[int] | None, path: Path) -> str:
        slurm, run = self.run.slurm, self.run
        writer = SlurmPipelineExecutor(
            pipeline=[],
            tasks=run.tasks,
            time=slurm.time,
            partition=slurm.partition,
            cpus_per_task=slurm.cpus_per_task if ranks else 1,
            mem_per_cpu_gb=slurm.mem_per_cpu_gb,
            gpus_per_task=run.gpus_per_task if ranks else 0,
            job_name=self.name,
            qos=None,
            env_command=slurm.env_command,
            sbatch_args=slurm.sbatch_args,
            logging_dir="memory://prewrite",
            slurm_logs_folder=str(self.folder),
        )
        logs = f"{path.with_suffix('')}-{'%A_%a' if ranks else '%j'}.out"
        wanted = writer.get_sbatch_args() | {
            "array": f"{ranges(ranks)}%{run.workers}" if ranks else None,
            "chdir": os.getcwd(),
            "output": logs,
            "error": logs,
            "signal": f"B:TERM@{_SECONDS_TO_COMMIT}",
        }
        recipe = shlex.quote(str(self.folder / "recipe.yaml"))
        # exec: Slurm's signal is for the batch script itself, which Python then is.
        line = f"exec {shlex.quote(sys.executable)} -m prewrite {self.command} --config {recipe}"
        arguments = {key: value for key, value in wanted.items() if value is not None}
        text: str = writer.get_launch_file_contents(arguments, f"{line} run.step={step}")
        return text


def _call(*command: str) -> str:
    """Standard output of one of Slurm's programs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ConfigError(
            f"run.executor: found 'slurm', but there is no {command[0]} on PATH; run this where "
            "jobs are submitted from"
        ) from None
    if done.returncode:
        raise PrewriteError(f"{command[0]} failed: {' '.join(done.stderr.split())}")
    return done.stdout

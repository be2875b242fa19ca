"""The section `run`: how a pass is spread over processes and machines."""

from typing import Any, Literal

from pydantic import Field, field_validator

from prewrite.base.config import Section


class SlurmConfig(Section):
    """What Slurm is asked for; null leaves it to the cluster's default."""

    partition: str | None = Field(None, description="queue of the jobs")
    time: str | None = Field(None, description="longest time of one task, in quotes: `'24:00:00'`")
    cpus_per_task: int = Field(1, ge=1, description="CPU cores of a task")
    mem_per_cpu_gb: int = Field(4, ge=1, description="memory of a core, in GB")
    sbatch_args: dict[str, str | int] = Field(
        {}, description="any further option of `sbatch`; it overrides those above"
    )
    env_command: str | None = Field(
        None, description="shell line before the command, such as `module load cuda`"
    )
    logs: str = Field(
        "slurm",
        min_length=1,
        description="folder of scripts and logs, on a disk that all nodes see",
    )

    @field_validator("time", mode="before")
    @classmethod
    def _not_a_number(cls, time: Any) -> Any:
        if isinstance(time, int):  # YAML reads 24:00:00 as a number to the base of 60
            raise ValueError("a text in quotes, such as '24:00:00'")
        return time


class RunConfig(Section):
    """How a pass is spread over workers; nothing here changes a row."""

    executor: Literal["local", "slurm", "ray"] = Field("local", description="where the tasks run")
    tasks: int = Field(1, ge=1, description="slices of the input files")
    workers: int = Field(1, ge=1, description="tasks that run at a time; above 1, a process each")
    rows_per_part: int = Field(
        8192,
        ge=1,
        description="rows a part holds at least, except the last of a file; a kill costs at most "
        "two parts a worker",
    )
    max_failed: float = Field(
        0.9,
        ge=0,
        le=1,
        description="share of the rows asked about that may fail before the run ends; 1: all of "
        "them",
    )
    gpus_per_task: int = Field(
        0, ge=0, description="GPUs of a worker; 0: locally all it finds, elsewhere none"
    )
    slurm: SlurmConfig = Field(SlurmConfig(), description="what Slurm is asked for")
    step: str | None = Field(
        None, description="do only this step of a run: `PASS:start`, `PASS:NUMBER` or `PASS:finish`"
    )

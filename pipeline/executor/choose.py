"""Which executor runs the tasks of a pass."""

from prewrite.base.errors import ConfigError
from prewrite.base.owned import OwnedFolder
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.executor.local import run_here
from prewrite.pipeline.passes import Pass, Split
from prewrite.pipeline.tasks import PassTasks


def execute(job: Pass, splits: list[Split], folder: OwnedFolder, run: RunConfig) -> None:
    """Run all splits to their end; the first error (or Interrupted) of any task is raised."""
    tasks = PassTasks(job, splits, folder, run)
    if run.executor == "ray":
        from prewrite.pipeline.executor.ray import run_on_ray

        run_on_ray(tasks)
    elif run.executor == "slurm":
        raise ConfigError("run.executor: found 'slurm'; accepted from Python: local, ray")
    else:
        run_here(tasks, range(run.tasks), run.workers)

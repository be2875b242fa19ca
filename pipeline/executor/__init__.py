"""Where the tasks of a pass run: this machine, or Ray. `pipeline.slurm` submits to Slurm."""

"""Where the tasks of a pass run: this machine, Ray, Slurm."""

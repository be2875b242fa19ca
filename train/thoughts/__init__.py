"""Whether a model uses its thoughts: `prewrite evaluate thoughts`."""

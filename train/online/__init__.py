"""The online phase: texts sampled from the policy in training, judged, and learnt from."""

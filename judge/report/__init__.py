"""How far a judge can be trusted: measured on labels, or on a sample of a set."""

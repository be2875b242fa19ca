"""What became of a set: scores before and after, statuses, changes, cost, on one HTML page."""

"""What measures a judge: labels, canaries, corruptions, trials of schedules."""

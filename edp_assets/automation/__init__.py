"""WHEN it is rebuilt: the watch on the cohort's files, schedules, jobs, and conditions on assets. Nothing is computed."""

"""WHEN it is rebuilt: a watch on the cohort's files, schedules, jobs, conditions on assets. Nothing is computed."""

"""The head of a small cohort's cohort.toml: what follows it, each test says itself."""

COHORT = """
[cohort]
name = "tiny"
genome_build = "GRCh37"
participants = "participants.csv"
diagnoses = "diagnoses.csv"
scans = "scans.csv"
"""

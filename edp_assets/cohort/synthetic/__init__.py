"""The synthetic cohort: a biobank with planted truth, written in the real file formats."""

"""What comes IN: the cohort folder's configuration, readers, validation, and the synthetic cohort."""

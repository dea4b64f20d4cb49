"""HOW it is computed: arrays in, arrays out; no Dagster, no globals."""

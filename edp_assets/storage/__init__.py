"""WHERE things lie: IO managers of the Parquet lake, the checkpoints and the DuckDB warehouse."""

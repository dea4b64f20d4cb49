"""What README.md shows as settings and as SQL is what the product takes."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb

from edp_assets.cohort.config import load_cohort, parse_cohort
from edp_assets.storage.home_settings import read_home_settings
from edp_assets.storage.schemas import SCHEMAS, empty

README = Path(__file__).parents[1] / "README.md"
COHORT = '[cohort]\nname = "demo"\ngenome_build = "GRCh37"\n' + "".join(
    f'{name} = "{name}.csv"\n' for name in ("participants", "diagnoses", "scans")
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


def test_readme__its_settings_are_accepted(tmp_path: Path) -> None:
    of_home = [block for block in blocks("toml") if block.startswith(("[storage]", "[executor]"))]
    shown = [block for block in blocks("toml") if block not in of_home]
    assert len(shown) > 5
    for block in shown:
        whole = block if "[cohort]" in block else f'{COHORT}[genotypes]\npath = "a.bed"\n[organs.liver]\n{block}'
        (tmp_path / "cohort.toml").write_text(whole)
        assert parse_cohort(tmp_path)[1] == [], block
    (tmp_path / "cohort.toml").write_text(next(block for block in shown if "[cohort]" in block))
    assert load_cohort(tmp_path).settings.encoders == ("mae", "video_mae", "imagenet", "untrained")
    assert len(of_home) == 2
    for block in of_home:
        (tmp_path / "home.toml").write_text(block)
        read_home_settings(tmp_path / "home.toml")


def test_readme__its_queries_name_tables_and_columns_that_there_are() -> None:
    with duckdb.connect() as connection:
        for name in SCHEMAS:
            connection.register(name, empty(name).to_arrow())
        queries = blocks("sql")
        assert len(queries) >= 5
        for query in queries:
            connection.sql(query)

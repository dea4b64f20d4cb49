"""The guide's notebook answers its five questions on a home with results, and on one without a hit."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from edp_assets.storage import warehouse
from edp_assets_tests.report.planted import Planted

NOTEBOOK = json.loads((files("edp_assets") / "guide/five_questions.ipynb").read_text())


def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run every code cell, as a notebook does, and return its names."""
    monkeypatch.setenv("EDP_HOME", str(home))
    names: dict[str, Any] = {}
    for number, cell in enumerate(cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    names["warehouse"].close()
    return names


def test_notebook__answers_its_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Planted(tmp_path).home
    with warehouse.connect(home.warehouse) as connection:  # the planted home's baselines find all that its EDPs find
        first = "(SELECT min(rowid) FROM gene_hits WHERE encoder IS NOT NULL AND encoder <> 'untrained')"
        connection.execute(f"UPDATE gene_hits SET gene = 'NOVEL1' WHERE rowid = {first}")
        control = "SELECT * REPLACE ('untrained' AS encoder, 400 AS neg_log_10_p_value)"
        connection.execute(f"INSERT INTO lead_variants {control} FROM lead_variants WHERE encoder = 'mae' LIMIT 1")
        connection.execute(
            "INSERT INTO score_correlations BY NAME SELECT 'mae' AS encoder, 'liver' AS organ, 'K76' AS icd10, "
            "'classifier' AS method, 900 AS n, unnest(['organ_volume', 'organ_surface', 'fat_fraction', 'age']) "
            "AS with_what, unnest(['hand_made', 'hand_made', 'hand_made', 'covariate']) AS kind, "
            "unnest([-0.5, 0.4, 0.9, 0.2]) AS pearson_r"
        )
    found = run(home.root, monkeypatch)
    explained = (
        found["explained"].filter(encoder="mae", organ="liver", icd10="K76", method="classifier").row(0, named=True)
    )
    assert explained["most"] == "fat_fraction"
    assert [explained[name] for name in ("share", "size", "person")] == pytest.approx([0.81, 0.25, 0.04])
    assert found["novel"]["gene"].to_list() == ["NOVEL1"]
    selected = warehouse.query(home.warehouse, "SELECT count(*) AS n FROM phenotype_selection WHERE selected")
    assert found["trust"].height == selected["n"][0] > 0
    lead = found["leads"].row(0, named=True)
    assert lead["encoder"] == "mae"  # an untrained control hits harder, and is no phenotype to follow
    assert found["locus"].row(0, named=True)["rsid"] == lead["rsid"]
    assert found["locus"]["neg_log_10_p_value"].is_sorted(descending=True)
    assert found["made_from"]["people_scored"][0] > 0


def test_notebook__of_no_hit_says_nothing_and_does_not_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Planted(tmp_path).home
    with warehouse.connect(home.warehouse) as connection:
        connection.execute("DELETE FROM gene_hits")
        connection.execute("DELETE FROM lead_variants")
    found = run(home.root, monkeypatch)
    assert [found[name].height for name in ("novel", "locus", "tracks", "made_from")] == [0, 0, 0, 0]


def test_notebook__is_stored_without_outputs() -> None:
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)

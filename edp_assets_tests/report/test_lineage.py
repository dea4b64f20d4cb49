"""The way back from a gene: against the graph itself, and against what changed since."""

from __future__ import annotations

import os
from dataclasses import replace

import edp_assets.graph  # noqa: F401
from edp_assets.assets.stage import REGISTRY
from edp_assets.report.lineage import Lineage
from edp_assets.storage.lake import Stored, cell_of
from edp_assets.storage.workspace import Fingerprints, Workspace
from edp_assets_tests.report.planted import Planted, filled

LIVER = ("mae", "liver", "K76")


def lineage(planted: Planted) -> Lineage:
    return Lineage(Workspace(planted.home), REGISTRY)


def test_steps__run_from_the_gene_to_the_scans_each_after_what_is_made_from_it(planted: Planted) -> None:
    steps = lineage(planted).steps(*LIVER)
    names = [step.name for step in steps]
    assert (names[0], names[-1]) == ("mae/gene_hits", "scans")
    assert {"mae/gwas_summary_stats", "mae/edp_scores", "mae/phenotype_selection", "icd10_cases"} <= set(names)
    assert "mae/lead_variants" not in names  # no gene is made from it
    place = {name: number for number, name in enumerate(names)}
    for step in steps:
        assert step.above == tuple(
            "/".join(above) for above in REGISTRY[tuple(step.name.split("/"))].spec.inputs.values()
            if "/".join(above) in place
        )  # fmt: skip
        assert all(place[above] > place[step.name] for above in step.above)


def test_steps__tell_rows_file_and_content_of_the_cell(planted: Planted) -> None:
    os.utime(planted.lake.path(("mae", "edp_scores"), cell_of({"organ": "liver", "icd10": "K76"})), (86_400, 86_400))
    steps = {step.name: step for step in lineage(planted).steps(*LIVER)}
    scores = steps["mae/edp_scores"]
    stored = planted.lake.provenance(("mae", "edp_scores"), cell_of({"organ": "liver", "icd10": "K76"}))
    assert stored is not None
    assert (scores.content, scores.inputs, scores.rows) == (stored.version, "planted", 120)
    assert scores.file == "lake/mae/edp_scores/icd10=K76/organ=liver/part.parquet"
    assert scores.made == "1970-01-02 00:00 UTC"
    assert (steps["icd10_cases"].rows, steps["scans"].rows, steps["scans"].partitions) == (12, 60, 1)


def test_steps__partitions_by_chromosome_are_one_step(planted: Planted) -> None:
    for chromosome in ("1", "2"):
        keys = {"organ": "liver", "chromosome": chromosome}
        rows = filled("embedding_associations", [{"chromosome": chromosome}] * 3)
        planted.store("mae/embedding_associations", "embedding_associations", rows, **keys)
        place = planted.lake.path(("mae", "embedding_associations"), cell_of(keys))
        os.utime(place, (86_400 * int(chromosome),) * 2)
    (step,) = [s for s in lineage(planted).steps(*LIVER) if s.name == "mae/embedding_associations"]
    assert (step.partitions, step.rows) == (2, 6)
    assert step.made == "1970-01-03 00:00 UTC"  # the last of them


def test_steps__say_which_setting_or_code_is_another_now(planted: Planted) -> None:
    workspace = Workspace(planted.home)
    spec, cell = REGISTRY["mae", "clusters"].spec, cell_of({"organ": "liver"})
    rows = planted.lake.read(spec.asset, cell)
    planted.lake.write(spec.asset, cell, "clusters", Stored(rows), Fingerprints(workspace, spec).of(cell))

    def changed() -> tuple[str, ...]:
        (step,) = [s for s in lineage(planted).steps(*LIVER) if s.name == "mae/clusters"]
        return step.changed

    assert changed() == ()
    toml = planted.cohort / "cohort.toml"
    toml.write_text(toml.read_text() + "[clustering]\nresolution = 0.5\n")
    assert changed() == ("settings clustering",)
    provenance = planted.lake.provenance(spec.asset, cell)
    assert provenance is not None
    newer = replace(spec, code_version="999")
    assert Workspace(planted.home).changed_settings(newer, cell, provenance) == ["code", "settings clustering"]


def test_steps__of_an_encoder_that_is_not_there_none(planted: Planted) -> None:
    assert lineage(planted).steps("video_mae", "liver", "K76") == []

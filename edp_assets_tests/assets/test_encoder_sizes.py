"""Sizes of encoders: what is planted in one size's embeddings is found there, and nothing in the untrained one's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from edp_assets.assets.encoder_sizes import size_embeddings, sizes
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.storage.lake import Stored, cell_of
from edp_assets.storage.schemas import conform, empty
from edp_assets.storage.upstream import Partition, Partitions
from edp_assets_tests.tiny_gwas import AGE, EIDS, N, trouble, workspace, write_folder

ORGAN = cell_of({"organ": "liver"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path)


def embeddings(size: str, weights: str, z: np.ndarray) -> pl.DataFrame:
    frame = pl.DataFrame({"size": size, "weights": weights, "organ": "liver", "eid": EIDS[::-1], "z": z[::-1].tolist()})
    return conform(frame, "size_embeddings")


def counted(folder: Path, cohort: str = "") -> pl.DataFrame:
    """Return what the stage makes of a trained encoder that sees what a variant does and of one that does not."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, 4))
    planted = z.copy()
    planted[:, 0] += 3 * trouble(0)[0]
    where = workspace(folder, "[evidence]\nsizes = ['S']\n[clustering]\nn_neighbors = 5\n[classifier]\nfolds = 4\n")
    toml = folder / "cohort.toml"
    toml.write_text(toml.read_text().replace("[cohort]\n", f"[cohort]\n{cohort}\n", 1))
    ill = pl.DataFrame({"icd10": "K76", "eid": [e for e, high in zip(EIDS, planted[:, 0] > 4, strict=True) if high]})
    where.lake.write(("icd10_cases",), cell_of({"icd10": "K76"}), "icd10_cases", Stored(ill), "")
    gene = {"variant_id": ["1_5000001_A_G"], "chromosome": ["1"], "base_pair_location": [5_000_001], "rsid": ["rs1_0"]}
    mapped = pl.DataFrame({**gene, "gene": ["PLANTED"], "gene_id": [None], "score": [0.9]})
    frame = conform(mapped, "variant_to_gene") if cohort else empty("variant_to_gene")
    where.lake.write(("variant_to_gene",), (), "variant_to_gene", Stored(frame), "")
    codes = {"icd10": ["K76"], "label_set": "icd10", "chapter": "XI", "description": "", "cases": 1, "cases_imaged": 1}
    people = empty("participants").clear(N).with_columns(pl.Series("eid", EIDS), pl.Series("age", AGE), sex=pl.lit(0.0))
    run = StageRun(ORGAN, REGISTRY["evidence", "sizes"].spec, where)
    made = sizes(
        run,
        pl.concat([embeddings("S", "trained", planted), embeddings("S", "untrained", z)]),
        pl.DataFrame({**codes, "studied": True, "retired": False}),
        Partitions(where.lake, ("icd10_cases",), where.lake.cells(("icd10_cases",))),
        Partition(where.lake, ("variant_to_gene",), ()),
        empty("genes"),
        participants=people,
        genotype_pcs=empty("genotype_pcs"),
        relatives=empty("relatives"),
    )
    return conform(made.frames, "evidence_sizes")


def test_sizes__count_what_each_hits_beside_the_untrained(folder: Path) -> None:
    found = counted(folder, 'variant_to_gene = "v2g.parquet"')
    columns = ["size", "weights", "participants", "dimensions", "genes", "loci", "paper_genes", "reason"]
    assert found.select(columns).rows() == [
        ("S", "trained", N, 4, 1, 1, 142.0, None), ("S", "untrained", N, 4, 0, 0, None, None)
    ]  # fmt: skip
    assert found["phenotypes"][0] >= 1


def test_sizes__of_a_cohort_without_a_table_of_genes_are_loci_alone_and_say_why(folder: Path) -> None:
    found = counted(folder)
    unknown = "no variant_to_gene in cohort.toml: genes are not known"
    assert found.select("loci", "reason").rows() == [(1, unknown), (0, unknown)]
    columns = ["genes", "genes_low", "genes_high", "associations", "genes_corrected"]
    assert found.select(columns).null_count().row(0) == (2,) * 5


def test_size_embeddings__none_are_made_unless_asked_for(folder: Path) -> None:
    for toml in ("", "[evidence]\nsizes = ['tiny']\nsizes_organs = ['heart']\n"):
        where = workspace(folder, toml)
        run = StageRun(ORGAN, REGISTRY["evidence", "size_embeddings"].spec, where)
        made = size_embeddings(run, Partition(where.lake, ("masked_crops",), ORGAN))
        assert pl.concat(made.frames).height == 0
        assert made.metadata["sizes"].startswith("none is asked for")


def test_size_embeddings__are_of_every_scan_trained_and_not(folder: Path) -> None:
    rng = np.random.default_rng(0)
    decoder = "[encoders.mae]\ndecoder_width = 32\ndecoder_depth = 1\ndecoder_heads = 4\nepochs = 1\n"
    where = workspace(folder, "[evidence]\nsizes = ['tiny']\n" + decoder)
    where.settings.organs["liver"] = where.settings.organs["liver"].model_copy(update={"patch": 8, "resolution": 16})
    crops = [
        {"organ": "liver", "eid": eid, "shape": [2, 3, 12, 12], "spacing_mm": [2.0, 2.0, 3.0], "mask_voxels": 9,
         "voxels": rng.integers(0, 256, (2, 3, 12, 12), dtype=np.uint8).tobytes(), "volume_ml": 1.0,
         "mean_intensity": [1.0, 2.0]}
        for eid in ("a", "b", "c")
    ]  # fmt: skip
    frame = pl.DataFrame(crops, schema=empty("masked_crops").schema)
    where.lake.write(("masked_crops",), ORGAN, "masked_crops", Stored(frame), "")
    spec = REGISTRY["evidence", "size_embeddings"].spec
    made = size_embeddings(StageRun(ORGAN, spec, where), Partition(where.lake, ("masked_crops",), ORGAN))
    found = pl.concat(conform(frame, "size_embeddings") for frame in made.frames)
    assert found.select("weights", "eid").rows() == [(w, e) for w in ("trained", "untrained") for e in "abc"]
    assert set(found["z"].list.len()) == {128}
    assert not np.allclose(found["z"][0], found["z"][3])
    assert list(where.checkpoints.folder(spec.asset, ORGAN).iterdir()) == []  # no pack, no state of training

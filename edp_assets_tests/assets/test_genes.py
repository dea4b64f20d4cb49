"""From the cohort's tables to gene hits as stages: what is kept of a variant-to-gene table, and what is told of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from edp_assets.assets.association import ASSOCIATIONS
from edp_assets.assets.genes import genes, read_gene_table, read_variant_to_gene, variant_to_gene
from edp_assets.assets.hits import gene_hits
from edp_assets.assets.stage import StageRun
from edp_assets.settings import Settings
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Lake, Stored, cell_of
from edp_assets.storage.schemas import conform, empty
from edp_assets.storage.upstream import Partition

CELL = cell_of({"organ": "liver", "icd10": "K76"})


@pytest.fixture
def source(tmp_path: Path) -> SimpleNamespace:
    """A cohort of three variants, with a variant-to-gene table and a gene table."""
    variants = [("1", "rs1", 100, "A", "G"), ("1", "rs2", 200, "A", "T"), ("1", "rs3", 300, "C", "A")]
    (tmp_path / "g.bim").write_text("".join(f"{c}\t{name}\t0\t{at}\t{a}\t{b}\n" for c, name, at, a, b in variants))
    (tmp_path / "g.fam").write_text("p p 0 0 0 -9\n")
    (tmp_path / "g.bed").write_bytes(b"\x6c\x1b\x01" + bytes(3))
    (tmp_path / "v.csv").write_text(
        "variant_id,rsid,gene,gene_id,score\n1_100_C_T,x,,ENSG1,0.5\n1_200_A_T,rs2,B,ENSG2,0.5\n1_999_A_T,y,C,ENSG3,1\n"
    )
    (tmp_path / "genes.csv").write_text("gene,chromosome,start,end,gene_id\nAAA,1,5000,6000,ENSG1\n")
    return SimpleNamespace(
        variant_to_gene=tmp_path / "v.csv", gene_table=tmp_path / "genes.csv", credible_sets=None,
        genome_build="GRCh37", genotype_paths=lambda: {"all": tmp_path / "g.bed"},
    )  # fmt: skip


def made(source: SimpleNamespace, settings: Settings) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, object]]:
    """Make `genes` and `variant_to_gene` of a cohort."""
    workspace = SimpleNamespace(cohort=source, settings=settings)
    places = conform(read_gene_table(StageRun((), genes.spec, workspace)).frames, "genes")
    stored = read_variant_to_gene(StageRun((), variant_to_gene.spec, workspace), places)
    frames = [stored.frames] if isinstance(stored.frames, pl.DataFrame) else list(stored.frames)
    return places, pl.concat([conform(frame, "variant_to_gene") for frame in frames]), stored.metadata


def test_variant_to_gene__keeps_what_lies_at_the_genotypes(source: SimpleNamespace) -> None:
    _, table, told = made(source, Settings())
    assert table.select("variant_id", "gene", "gene_id").rows() == [
        ("1_100_C_T", "AAA", "ENSG1"), ("1_200_A_T", "B", "ENSG2")
    ]  # fmt: skip
    assert told == {"joined_by": "position, else rsid", "layout": "table", "variants": 2, "shared_rsids": 1,
                    "shared_elsewhere": 0}  # fmt: skip


def test_variant_to_gene__of_another_build_goes_by_rsid(source: SimpleNamespace) -> None:
    _, table, told = made(source, Settings.from_toml({"genes": {"build": "GRCh38"}}))
    assert table.select("variant_id", "rsid", "gene").rows() == [(None, "rs2", "B")]
    assert told["joined_by"] == "rsid"


def test_variant_to_gene__none(source: SimpleNamespace) -> None:
    source.variant_to_gene = source.gene_table = None
    places, table, _ = made(source, Settings())
    assert places.height == table.height == 0


def test_gene_hits__tells_how_variants_came_to_genes(source: SimpleNamespace, tmp_path: Path) -> None:
    places, table, _ = made(source, Settings())
    lake = Lake(tmp_path / "lake")
    label = {"encoder": "mae", "organ": "liver", "icd10": "K76", "method": "classifier"}
    rows = [
        {**label, "chromosome": "1", "base_pair_location": at, "effect_allele": a, "other_allele": b, "rsid": name,
         "neg_log_10_p_value": p, "n": 10, "beta": 1.0, "standard_error": 0.1, "effect_allele_frequency": 0.5}
        for name, at, a, b, p in (("rs1", 100, "A", "G", 9.0), ("rs2", 200, "A", "T", 8.0),
                                  ("rs3", 300, "C", "A", 10.0), ("rs3", 301, "C", "A", 1.0))
    ]  # fmt: skip
    statistics = pl.concat([empty("gwas_summary_stats"), pl.DataFrame(rows)], how="diagonal_relaxed")
    lake.write(("mae", "gwas_summary_stats"), CELL, "gwas_summary_stats", Stored(statistics), "")
    lake.write(("variant_to_gene",), (), "variant_to_gene", Stored(table), "")
    run = StageRun(CELL, ASSOCIATIONS["mae"].gene_hits.spec, SimpleNamespace(settings=Settings(), home=Home(tmp_path)))
    stored = gene_hits(
        run, Partition(lake, ("mae", "gwas_summary_stats"), CELL), Partition(lake, ("variant_to_gene",), ()), places
    )
    hits = conform(stored.frames, "gene_hits")
    assert hits.select("gene", "assigned_by", "rsid", "variants").rows() == [
        ("AAA", "variant_to_gene", "rs3", 2), ("B", "variant_to_gene", "rs2", 1)
    ]  # fmt: skip
    strongest, figures = stored.metadata.pop("strongest"), stored.metadata.pop("figures")
    assert strongest.md_str.splitlines()[2:] == ["|classifier|AAA|rs3|10.0|", "|classifier|B|rs2|8.0|"]
    assert figures.path == str(tmp_path / "report/figures/mae/liver/K76")
    assert stored.metadata == {
        "genes": 2, "variants_alleles": 1, "variants_nearest_gene": 1, "variants_other_strand": 1,
        "variants_palindromic": 1,
    }  # fmt: skip

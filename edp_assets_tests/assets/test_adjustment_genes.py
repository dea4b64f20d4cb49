"""Figure 5 by the stages: a dominating factor's genes are there before adjustment and gone after, the others come."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from edp_assets.assets.adjustment import (
    NOT_ADJUSTED,
    adjustment_figures,
    adjustment_genes,
    unadjusted_gwas_summary_stats,
)
from edp_assets.assets.association import association_basis, embedding_associations, gwas_summary_stats
from edp_assets.assets.candidates import PreparedOrgan, classifier_row
from edp_assets.assets.encoders import adjusted_embeddings, adjustment_factors, vectors
from edp_assets.assets.hits import gene_hits
from edp_assets.assets.phenotypes import score_frame
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.settings import Settings
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Lake, Stored, cell_of
from edp_assets.storage.schemas import conform, empty
from edp_assets.storage.upstream import Partition, Partitions
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.adjusted_genes import DENSITY_GENES, NULL_CHROMOSOMES, OTHER_GENES, simulate
from edp_assets_tests.tiny_gwas import HEAD, tables, write_bed

ORGAN, CELL = cell_of({"organ": "liver"}), cell_of({"organ": "liver", "icd10": "K76"})
TOML = HEAD.replace("[organs.liver]", '[organs.liver]\nadjust_for = ["embedding_pc1"]')
LABEL = {"encoder": "mae", "organ": "liver", "icd10": "K76", "method": "classifier", "cluster": None}


def run_of(where: Workspace, name: str, cell: Any = CELL) -> StageRun:
    return StageRun(cell, REGISTRY["mae", name].spec, where)


def store(where: Workspace, name: str, made: Stored, cell: Any = CELL) -> Partition:
    where.lake.write(("mae", name), cell, REGISTRY["mae", name].spec.table, made, "")
    return Partition(where.lake, ("mae", name), cell)


class Made:
    """A simulated brain (under the name of the organ that the tiny cohort has), from embeddings to genes."""

    def __init__(self, root: Path) -> None:
        planted = simulate(seed=0)
        n = planted.cases.size
        folder = root / "cohort"
        folder.mkdir()
        for (chromosome,), rows in planted.variants.with_row_index().group_by("chromosome", maintain_order=True):
            dosages = planted.genotypes[rows["index"]]
            positions = rows["base_pair_location"].to_list()
            write_bed(folder / f"chr{chromosome}.bed", str(chromosome), dosages, positions, [1, 2] * (n // 2))
        (folder / "cohort.toml").write_text(TOML)
        home = Home(root / "home")
        home.root.mkdir()
        home.bind(folder)
        self.where = where = Workspace(home)
        eids = [str(100 + i) for i in range(n)]
        self.embeddings = vectors(eids, planted.z, "mae", "liver")
        self.cases = pl.DataFrame({"icd10": "K76", "eid": pl.Series(eids).filter(pl.Series(planted.cases))})
        none = empty("factor_values")
        factors = adjustment_factors(run_of(where, "adjustment_factors", ORGAN), self.embeddings, none).frames
        run = run_of(where, "adjusted_embeddings", ORGAN)
        adjusted = conform(adjusted_embeddings(run, self.embeddings, none, factors).frames, run.spec.table)
        self.adjusted = store(where, "adjusted_embeddings", Stored(adjusted), ORGAN)
        rng = np.random.default_rng(1)
        people = pl.DataFrame({"eid": eids, "age": rng.normal(60, 5, n), "sex": [0.0, 1.0] * (n // 2)})
        participants = pl.concat([empty("participants"), people], how="diagonal_relaxed")
        enrolled = {name: empty(name) for name in ("genotype_pcs", "relatives")} | {"participants": participants}
        volumes = pl.DataFrame({"eid": eids, "volume_ml": rng.normal(1400, 100, n)})
        basis = association_basis(run_of(where, "association_basis", ORGAN), adjusted, volumes, **enrolled)
        self.basis = conform(basis.frames, "association_basis")
        genes = planted.variants.drop_nulls("gene").with_columns(
            variant_id=pl.format("{}_{}_G_A", "chromosome", "base_pair_location"), score=1.0
        )
        genes = conform(pl.concat([empty("variant_to_gene"), genes], how="diagonal_relaxed"), "variant_to_gene")
        where.lake.write(("variant_to_gene",), (), "variant_to_gene", Stored(genes), "")
        self.gwas = self.after()
        self.hits = self.genes_of("gene_hits", self.gwas)
        run = run_of(where, "unadjusted_gwas_summary_stats")
        before = unadjusted_gwas_summary_stats(run, self.embeddings, self.adjusted, self.basis, self.cases)
        self.unadjusted_gwas = store(where, "unadjusted_gwas_summary_stats", before)
        self.unadjusted_hits = self.genes_of("unadjusted_gene_hits", self.unadjusted_gwas)
        self.told = before.metadata

    def after(self) -> Partition:
        """Return the projected GWAS of the score of the adjusted embeddings."""
        where, frame = self.where, self.adjusted.scan().collect()
        organ = PreparedOrgan(frame, where.settings.classifier, where.settings.island)
        row = classifier_row(organ, frame["eid"].is_in(self.cases["eid"].implode()).to_numpy())
        model = pl.DataFrame([{**LABEL, **row}], schema=empty("phenotype_models").schema)
        scores = store(where, "edp_scores", Stored(score_frame(model, organ, "edp_scores")))
        cells = [cell_of({"organ": "liver", "chromosome": c}) for c in where.chromosomes]
        for cell in cells:
            made = embedding_associations(run_of(where, "embedding_associations", cell), self.basis)
            store(where, "embedding_associations", made, cell)
        products = Partitions(where.lake, ("mae", "embedding_associations"), cells)
        together = gwas_summary_stats([run_of(where, "gwas_summary_stats")], [scores], [self.basis], [products])
        return store(where, "gwas_summary_stats", Stored(tables(together)[0]))

    def genes_of(self, name: str, statistics: Partition) -> pl.DataFrame:
        genes = Partition(self.where.lake, ("variant_to_gene",), ())
        return conform(gene_hits(run_of(self.where, name), statistics, genes, empty("genes")).frames, "gene_hits")

    @property
    def compared(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("unadjusted_gwas", "gwas", "unadjusted_hits", "hits")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("adjusted"))


def test_adjustment_genes__the_factors_are_gone_and_the_others_come(made: Made) -> None:
    stored = adjustment_genes(run_of(made.where, "adjustment_genes"), **made.compared)
    table = conform(stored.frames, "adjustment_genes")
    assert stored.metadata == {"gone": len(DENSITY_GENES), "kept": 0, "new": len(OTHER_GENES)}
    assert table.select("method", "adjustment").unique().rows() == [("classifier", "embedding_pc1")]
    gone = table.filter("hit_before", ~pl.col("hit_after"))
    new = table.filter(~pl.col("hit_before"), "hit_after")
    assert (set(gone["gene"]), set(new["gene"])) == (set(DENSITY_GENES), set(OTHER_GENES))
    assert gone["neg_log_10_p_before"].min() > 7.3 > 3 > gone["neg_log_10_p_after"].max()
    assert new["neg_log_10_p_after"].min() > 7.3 > new["neg_log_10_p_before"].max()


def test_unadjusted_gwas__is_of_the_same_people_and_null_where_nothing_is_planted(made: Made) -> None:
    before, after = (gwas.scan().collect() for gwas in (made.unadjusted_gwas, made.gwas))
    assert set(before["n"]) == set(after["n"]) == {made.basis.height}
    assert before["rsid"].sort().equals(after["rsid"].sort())
    assert before.filter(pl.col("chromosome").is_in(NULL_CHROMOSOMES))["neg_log_10_p_value"].max() < 4
    assert made.told["selected"] is True


def test_unadjusted_gwas__of_the_adjusted_embeddings_is_the_projected_one(made: Made) -> None:
    run = run_of(made.where, "unadjusted_gwas_summary_stats")
    stored = unadjusted_gwas_summary_stats(
        run, made.adjusted.scan().collect(), made.adjusted, made.basis, made.cases
    ).frames
    found = pl.concat(conform(pl.DataFrame(frame), run.spec.table) for frame in stored)
    both = found.join(made.gwas.scan().collect(), on="rsid")
    assert both.height == found.height
    assert (both["neg_log_10_p_value"] - both["neg_log_10_p_value_right"]).abs().max() < 0.01


def test_adjustment_figures__one_above_the_other(made: Made) -> None:
    stored = adjustment_figures(run_of(made.where, "adjustment_figures"), **made.compared)
    table = conform(stored.frames, "paper_figures")
    path = "report/figures/mae/liver/K76/adjustment/figure_5-K76.png"
    assert table.select("figure", "icd10", "path").rows() == [("figure_5", "K76", path)]
    assert (made.where.home.root / path).read_bytes().startswith(b"\x89PNG")


def test_adjustment_genes__are_the_classifier_s_by_the_stronger_variant(tmp_path: Path) -> None:
    settings = Settings.from_toml({"organs": {"liver": {"adjust_for": ["age"]}}})
    where = SimpleNamespace(settings=settings, lake=Lake(tmp_path / "lake"))
    cluster = {"method": "clustering", "cluster": 0}

    def statistics(name: str, *rows: dict[str, Any]) -> Partition:
        usual = {**LABEL, "chromosome": "1", "effect_allele": "A", "other_allele": "G", "effect_allele_frequency": 0.3,
                 "beta": 0.1, "standard_error": 0.1, "n": 9}  # fmt: skip
        frame = pl.DataFrame([{**usual, **row} for row in rows], schema=empty(name).schema)
        return store(where, name, Stored(frame))

    def variant(number: int, p: float, **more: Any) -> dict[str, Any]:
        place = {"chromosome": "1", "base_pair_location": 100 * number, "rsid": f"rs{number}"}
        return {**place, "neg_log_10_p_value": p, **more}

    # Two variants of one place and name are one, the first of them the stronger.
    rows = (variant(1, 9.0), variant(1, 2.0), variant(2, 5.0), variant(3, 8.0))
    before = statistics("unadjusted_gwas_summary_stats", *rows)
    after = statistics("gwas_summary_stats", variant(1, 3.0), variant(2, 12.0), variant(1, 50.0, **cluster))
    hits = [[variant(1, 9.0, gene="GONE"), variant(3, 8.0, gene="KEPT"), variant(1, 9.0, gene=None)],
            [variant(2, 12.0, gene="KEPT"), variant(1, 50.0, gene="OTHER", **cluster)]]  # fmt: skip
    hits_before, hits_after = (
        pl.DataFrame([{**LABEL, **row} for row in rows], schema=empty("gene_hits").schema) for rows in hits
    )
    stored = adjustment_genes(run_of(where, "adjustment_genes"), before, after, hits_before, hits_after)
    found = conform(stored.frames, "adjustment_genes")
    columns = ["gene", "rsid", "neg_log_10_p_before", "neg_log_10_p_after", "hit_before", "hit_after"]
    assert found.select(columns).rows() == [
        ("KEPT", "rs2", 5.0, 12.0, True, True), ("GONE", "rs1", 9.0, 3.0, True, False)
    ]  # fmt: skip
    assert stored.metadata == {"gone": 1, "kept": 1, "new": 0}


@pytest.fixture
def unselected(made: Made, tmp_path: Path) -> dict[str, Any]:
    """What is compared where the adjusted score is not selected."""
    lake = Lake(tmp_path / "lake")
    lake.write(("mae", "gwas_summary_stats"), CELL, "gwas_summary_stats", Stored(empty("gwas_summary_stats")), "")
    gwas = Partition(lake, ("mae", "gwas_summary_stats"), CELL)
    return made.compared | {"gwas": gwas, "hits": empty("gene_hits")}


def test_adjustment__a_score_that_is_not_selected_after(made: Made, unselected: dict[str, Any]) -> None:
    table = conform(adjustment_genes(run_of(made.where, "adjustment_genes"), **unselected).frames, "adjustment_genes")
    assert set(table["gene"]) == set(DENSITY_GENES)
    assert table["neg_log_10_p_after"].null_count() == table.height
    assert not table["hit_after"].any()
    assert table["reason"].str.contains("not selected for a GWAS").all()
    assert adjustment_figures(run_of(made.where, "adjustment_figures"), **unselected).metadata["figures"] == 1


def test_adjustment__where_nothing_is_to_be_compared_the_reason_is_told(made: Made, tmp_path: Path) -> None:
    settings = made.where.settings
    plain = SimpleNamespace(
        settings=settings.model_copy(update={"organs": {"liver": settings.organs["liver"].model_copy(
            update={"adjust_for": ()})}}), lake=Lake(tmp_path / "lake"), home=made.where.home,
    )  # fmt: skip
    given = (made.embeddings, made.adjusted, made.basis)
    of_nobody = made.cases.clear()
    for where, cases, reason in (
        (plain, made.cases, NOT_ADJUSTED),
        (SimpleNamespace(settings=settings, lake=plain.lake, home=plain.home), of_nobody, "no classifier-guided score"),
    ):
        stored = unadjusted_gwas_summary_stats(run_of(where, "unadjusted_gwas_summary_stats"), *given, cases)
        assert stored.metadata["skipped"].startswith(reason)
        unadjusted = store(where, "unadjusted_gwas_summary_stats", stored)
        compared = made.compared | {"unadjusted_gwas": unadjusted, "unadjusted_hits": empty("gene_hits")}
        genes = adjustment_genes(run_of(where, "adjustment_genes"), **compared)
        assert conform(genes.frames, "adjustment_genes").height == 0
        assert genes.metadata["skipped"].startswith(reason)
        assert adjustment_figures(run_of(where, "adjustment_figures"), **compared).metadata["figures"] == 0

"""The phenotypes of a cell's page: scores, Manhattan and quantile plots, loci, PheWAS, and what else there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import polars as pl
from markupsafe import Markup

from edp_assets.figures.thinning import KEYS, Thinned, thin
from edp_assets.report import captions
from edp_assets.report import meanings as mean
from edp_assets.report.html import plot, table
from edp_assets.report.names import phenotype_id
from edp_assets.report.results import meanings
from edp_assets.report.sources import Sources
from edp_assets.report.unknown import HITS
from edp_assets.storage.cells import cell_of
from edp_assets.storage.columns import of_phenotype, phenotype_name
from edp_assets.storage.schemas import SCHEMAS, empty
from edp_assets.storage.upstream import Partition
from edp_assets.storage.workspace import Asset

OF_PHENOTYPES = ("gwas_summary_stats", *HITS, "phewas")
"""Tables of an encoder that have a part of each selected phenotype."""
FULLY_DRAWN = 8
"""Phenotypes of a page whose plots have all their points; of more, each has fewer, so that the page stays small."""
ROWS_AT_ONCE = 131_072
"""Rows of statistics in memory."""
IN_SAMPLE = "AUC, all people, in sample"
"""What the AUC of a score over the people whose labels made it is called, beside the held-out ones."""


@dataclass(frozen=True)
class Phenotypes:
    """The selected phenotypes of an organ and code."""

    sources: Sources
    organ: str
    icd10: str
    path: str
    selected: pl.DataFrame
    not_stored: Mapping[Asset, str]
    """A sentence on each asset of these of which nothing is stored."""

    def parts(self) -> list[dict[str, Any]]:
        """Return what is shown of each phenotype, those of the strongest association first."""
        order = {name: rank for rank, name in enumerate(self._strongest())}
        rows = [(*row, index) for index, row in enumerate(self.selected.select("encoder", *KEYS).iter_rows())]
        rows.sort(key=lambda row: (order.get(row[:3], len(order)), row[3]))
        return [self._part(encoder, method, cluster) for encoder, method, cluster, _ in rows]

    def _strongest(self) -> list[tuple[Any, ...]]:
        leads = self._of_cell("lead_variants").sort("neg_log_10_p_value", descending=True)
        return leads.select("encoder", *KEYS).unique(maintain_order=True).rows()

    def _of_cell(self, table: str) -> pl.DataFrame:
        return self.sources.results.of(table, self.organ, self.icd10)

    def _part(self, encoder: str, method: str, cluster: int | None) -> dict[str, Any]:
        own = pl.col("encoder").eq(encoder) & of_phenotype(method, cluster)
        name = phenotype_id(encoder, method, cluster)
        chosen = self.selected.filter(own).row(0, named=True)
        genes = self._of_cell("gene_hits").filter(own)
        leads = self._of_cell("lead_variants").filter(own)
        regional = self.sources.files(self._of_cell("association_figures").filter(own, figure="regional"), self.path)
        no_genes, no_loci = (self._no_hits(encoder, table, method, cluster) for table in HITS)
        return {
            "id": name,
            "title": f"{encoder}, {phenotype_name(method, cluster)}",
            "chosen": chosen,
            "genes": "genes not known" if no_genes else f"{genes.drop_nulls('gene').height} genes",
            "loci": "loci not known" if no_loci else f"{leads.height} loci",
            "distribution": self._distribution(encoder, method, cluster, name),
            "gwas": self._gwas(encoder, method, cluster, name, None if no_genes else genes),
            "no_gwas": self._nothing(encoder, "gwas_summary_stats"),
            "loci_table": self._loci(leads, regional, name),
            "no_loci": no_loci,
            "regional": [{**figure, "id": self._locus_id(name, figure)} for figure in regional],
            "overlap": self._rows("label_overlap", own, "Whose own label went into their score (see Methods)"),
            "phewas": self._phewas(encoder, own, name),
            "no_phewas": self._nothing(encoder, "phewas"),
            "interpretation": self._interpretation(encoder, method, cluster, own),
            "correlations": self._correlations(own),
        }

    def _nothing(self, encoder: str, table: str) -> str:
        """Return what is said in place of what a table would show of a phenotype, where it shows nothing."""
        return self.not_stored.get((encoder, table)) or f"{encoder}/{table} has nothing of this phenotype."

    def _no_hits(self, encoder: str, table: str, method: str, cluster: int | None) -> str | None:
        """Return why a phenotype's hits are not known; None where they are. Those stored are of the stored GWAS."""
        tested = {key[1:] for key in self._tested if key[0] == encoder}
        if (encoder, table) not in self.not_stored and (not tested or (method, cluster) in tested):
            return None
        return self._nothing(encoder, table)

    def paper(self) -> list[dict[str, Any]]:
        """Return the paper's figures of this code, with what they show, in their order."""
        return captions.paper(
            [
                *self.sources.files(self._of_cell("phenotype_figures"), self.path),
                *self.sources.files(self._of_cell("paper_figures"), self.path),
                *self.sources.files(self._of_cell("phewas_figures").filter(figure="figure_7"), self.path),
            ]
        )

    def _rows(self, name: str, own: pl.Expr, caption: str) -> Markup | None:
        rows = self._of_cell(name)
        rows = rows.filter(own) if rows.height else rows
        if not rows.height:
            return None
        shown = rows.drop("encoder", "organ", "icd10", *KEYS, strict=False)
        return table(shown, caption, meanings=meanings(name))

    def _interpretation(self, encoder: str, method: str, cluster: int | None, own: pl.Expr) -> list[dict[str, Any]]:
        """Return the figures of what the score sees, each with how to read it."""
        figures = self.sources.files(self._of_cell("interpretation_figures").filter(own), self.path)
        scores = self._scores.get(encoder) if figures else None
        people = None if scores is None else scores.filter(of_phenotype(method, cluster)).height
        named = f"{self.organ}, {self.icd10}, {encoder}, {phenotype_name(method, cluster)}"
        return [{**each, **captions.interpretation(each["figure"], named, method, people)} for each in figures]

    def _correlations(self, own: pl.Expr) -> Markup | None:
        """Return what the score goes with, the strongest first; its AUC is told apart from the held-out ones."""
        rows = self._of_cell("score_correlations")
        rows = rows.filter(own) if rows.height else rows
        if not rows.height:
            return None
        shown = rows.drop("encoder", "organ", "icd10", *KEYS, strict=False).rename({"roc_auc": IN_SAMPLE})
        shown = shown.sort(pl.col("pearson_r").abs(), descending=True, nulls_last=True, maintain_order=True)
        told = meanings("score_correlations")
        explained = told | {IN_SAMPLE: f"{told['roc_auc']}; of the final score over everybody, whose labels made it"}
        return table(shown, "What the score goes with, the strongest correlation first", meanings=explained)

    def _partition(self, asset: tuple[str, ...], **keys: str) -> Partition | None:
        cell = cell_of(keys)
        there = cell in self.sources.lineage.stored(asset)
        return Partition(self.sources.workspace.lake, asset, cell) if there else None

    @cached_property
    def _cases(self) -> pl.Series:
        cases = self._partition(("icd10_cases",), icd10=self.icd10)
        return pl.Series(dtype=pl.String) if cases is None else cases.columns("eid")["eid"]

    def _distribution(self, encoder: str, method: str, cluster: int | None, name: str) -> Markup | None:
        """Return the distribution of the score; counts of people, no ids."""
        from edp_assets.figures.interactive import score_distribution

        scores = self._scores.get(encoder)
        if scores is None:
            return None
        of_people = scores.filter(of_phenotype(method, cluster))
        alt = f"Score of {of_people.height:,} people: cases of {self.icd10} against the others."
        drawn = score_distribution(of_people["score"].to_numpy(), of_people["case"].to_numpy())
        return plot(drawn, f"score-{name}", alt)

    @cached_property
    def _scores(self) -> dict[str, pl.DataFrame]:
        """Each encoder's scores, and whether they are a case's, where it has any."""
        found = {}
        for encoder in self.selected["encoder"].unique():
            scores = self._partition((encoder, "edp_scores"), organ=self.organ, icd10=self.icd10)
            if scores is not None:
                of_people = scores.columns(*KEYS, "eid", "score")
                found[encoder] = of_people.select(*KEYS, "score", case=pl.col("eid").is_in(self._cases.implode()))
        return found

    @cached_property
    def _thinned(self) -> dict[tuple[Any, ...], Thinned]:
        """What is drawn of each phenotype's GWAS; each file is streamed twice."""
        threshold = self.sources.settings.association.neg_log_10_threshold
        coarser = max(1.0, (self.selected.height / FULLY_DRAWN) ** 0.5)
        columns = (*KEYS, "chromosome", "base_pair_location", "rsid", "neg_log_10_p_value")
        found: dict[tuple[Any, ...], Thinned] = {}
        for encoder in self.selected["encoder"].unique(maintain_order=True):
            statistics = self._partition((encoder, "gwas_summary_stats"), organ=self.organ, icd10=self.icd10)
            if statistics is not None:
                of_encoder = thin(partial(statistics.stream, columns, ROWS_AT_ONCE), threshold, coarser)
                found |= {(encoder, *key): thinned for key, thinned in of_encoder.items()}
        return found

    @cached_property
    def _tested(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        """What each GWAS noted: n, how many variants were tested, lambda GC, how many were stored."""
        found = {}
        for encoder in self.selected["encoder"].unique():
            statistics = self._partition((encoder, "gwas_summary_stats"), organ=self.organ, icd10=self.icd10)
            for note in statistics.notes.get("phenotypes", ()) if statistics is not None else ():
                found[encoder, note["method"], note["cluster"]] = note
        return found

    def _gwas(
        self, encoder: str, method: str, cluster: int | None, name: str, genes: pl.DataFrame | None
    ) -> dict[str, Any] | None:
        """Return the Manhattan and quantile plots, and what is told of them; genes: those hit, where they are known."""
        from edp_assets.figures.interactive_gwas import manhattan, qq

        thinned = self._thinned.get((encoder, method, cluster))
        if thinned is None:
            return None
        note = self._tested.get((encoder, method, cluster), {})
        tested = note.get("variants", thinned.variants)
        settings = self.sources.settings.association
        drawn = f"{thinned.drawn:,} points stand for {thinned.variants:,} variants"
        left = f" ({tested:,} were tested, those of small p are stored)" if tested > thinned.variants else ""
        told = f"{drawn}{left}: all {thinned.associated:,} hits, the strongest others, and one a pixel of the rest."
        named = "are not known" if genes is None else "are named"
        alt = f"Manhattan plot; the line is p = {settings.threshold:g}, genes hit {named}."
        genes = empty("gene_hits") if genes is None else genes
        inflation = f" Lambda GC {note['lambda_gc']:.3f}." if "lambda_gc" in note else ""
        people = f" {note['n']:,} people." if "n" in note else ""
        return {
            "manhattan": plot(
                manhattan(thinned, genes, settings.neg_log_10_threshold), f"manhattan-{name}", alt, told
            ),
            "qq": plot(
                qq(thinned.quantiles, tested), f"qq-{name}", f"Observed against expected -log10 p.{inflation}{people}"
            ),
        }  # fmt: skip

    def _locus_id(self, name: str, row: dict[str, Any]) -> str:
        return f"locus-{name}-{row['chromosome']}-{row['base_pair_location']}"

    @cached_property
    def _scans(self) -> dict[str, pl.DataFrame]:
        """Each encoder's PheWAS, without the cell's own columns, vectors and what only a later run asks for."""
        hidden = ("organ", "icd10", "source")
        shown = [n for n, c in SCHEMAS["phewas"].items() if n not in hidden and not isinstance(c.dtype, pl.List)]
        found = {}
        for encoder in self.selected["encoder"].unique():
            scan = self._partition((encoder, "phewas"), organ=self.organ, icd10=self.icd10)
            if scan is not None:
                found[encoder] = scan.columns(*shown)
        return found

    def _loci(self, leads: pl.DataFrame, regional: list[dict[str, Any]], name: str) -> Markup | None:
        if not leads.height:
            return None
        shown = leads.drop("encoder", "organ", "icd10", *KEYS).sort("neg_log_10_p_value", descending=True)
        first = ["rsid", "chromosome", "base_pair_location", "neg_log_10_p_value", "beta", "standard_error"]
        drawn = {self._locus_id(name, figure) for figure in regional}
        places = [self._locus_id(name, row) for row in shown.iter_rows(named=True)]
        links = {"rsid": [f"#{place}" if place in drawn else None for place in places]}
        rest = [column for column in shown.columns if column not in first]
        caption = "Loci, by their lead variant; a link leads to the regional plot"
        return table(shown.select(*first, *rest), caption, links=links, meanings=meanings("lead_variants"))

    def _phewas(self, encoder: str, own: pl.Expr, name: str) -> dict[str, Any] | None:
        """Return the volcano, its table, and how many traits were left out for which reason; None without a PheWAS."""
        scan = self._scans.get(encoder)
        if scan is None or not (rows := scan.filter(own)).height:
            return None
        from edp_assets.figures.interactive_gwas import volcano

        tested = rows.drop_nulls("neg_log_10_p_value").sort("neg_log_10_p_value", descending=True)
        left = (
            rows.filter(pl.col("neg_log_10_p_value").is_null()).group_by("reason").agg(traits=pl.len()).sort("reason")
        )
        shown = tested.drop("encoder", *KEYS, "reason")
        one_effect = tested["beta"].count()
        alt = (
            f"PheWAS of {tested.height:,} traits: effect and -log10 p of the {one_effect:,} that have one effect, "
            "filled where below 0.05 by Bonferroni."
        )
        return {
            "plot": plot(volcano(tested), f"phewas-{name}", alt),
            "table": table(shown, "Traits, the strongest first", meanings=meanings("phewas")),
            "left": table(left, "Traits without a test, by reason", meanings=mean.UNTESTED) if left.height else None,
        }

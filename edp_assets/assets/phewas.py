"""The phenome-wide scan of an organ's EDPs (paper, appendix A.2), many codes together, and its volcano plots.

How a trait is tested is in `science.phenome`; which traits there are, in `phenome`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets import ancestry, cohort
from edp_assets.assets.album import Album, phenotype_title
from edp_assets.assets.association import ASSOCIATIONS
from edp_assets.assets.association_figures import DRAWN
from edp_assets.assets.encoders import ENCODERS, LEARNED
from edp_assets.assets.phenome import GROUP, phenome_dictionary, phenome_traits
from edp_assets.assets.phenotypes import CELL, PHENOTYPES
from edp_assets.assets.phewas_scan import Earlier, scan_traits
from edp_assets.assets.score_gwas import cell_phenotypes
from edp_assets.assets.stage import Stage, StageRun, stage
from edp_assets.storage.columns import PHENOTYPE, of_phenotype
from edp_assets.storage.lake import Stored, Together
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition

CELLS_AT_ONCE = 64
"""Cells of an organ that are scanned together: each trait is prepared once for them."""
PHENOTYPES_AT_ONCE = 128
"""Phenotypes that are fitted together: of 45,714 people 47 MB."""


def phewas(
    runs: Sequence[StageRun],
    edp_scores: Sequence[Partition],
    participants: Sequence[pl.DataFrame],
    relatives: Sequence[pl.DataFrame],
    phenome_dictionary: Sequence[pl.DataFrame],
    phenome_traits: Sequence[Partition],
) -> Together:
    """Every trait and phecode on each selected EDP of the cell, beside covariates: a result, or why there is none."""
    members = [Stored(()) for _ in runs]
    shared = participants[0], relatives[0], phenome_dictionary[0], phenome_traits[0]
    return Together(members, _rows(runs, members, edp_scores, shared))


def _rows(
    runs: Sequence[StageRun],
    members: list[Stored],
    edp_scores: Sequence[Partition],
    inputs: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, Partition],
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield (cell's place, rows) of each phenotype."""
    waiting: list[tuple[int, pl.DataFrame, pl.DataFrame]] = []
    for place, (run, of_cell) in enumerate(zip(runs, edp_scores, strict=True)):
        earlier = Earlier(run)
        found = cell_phenotypes(of_cell, members[place].metadata)
        waiting += [(place, phenotype, earlier.of(phenotype)) for phenotype in found]
    for first in range(0, len(waiting), PHENOTYPES_AT_ONCE):
        places, phenotypes, rows = zip(*waiting[first : first + PHENOTYPES_AT_ONCE], strict=True)
        frames, told = scan_traits(runs[0], phenotypes, rows, inputs)
        for place, phenotype, frame in zip(places, phenotypes, frames, strict=True):
            members[place].metadata.update(told)
            _count(frame, members[place].metadata)
            yield place, phenotype.select(*PHENOTYPE).head(1).join(frame, how="cross").select(empty("phewas").columns)


def _count(frame: pl.DataFrame, metadata: dict[str, Any]) -> None:
    """Add to a cell's metadata how many of a phenotype's traits were tested and found, and why others were not."""
    from edp_assets.science.phenome.results import counted_reasons

    tested = frame.filter(pl.col("reason").is_null())
    found = {
        "tests": tested.height,
        "significant_at_bonferroni_0.05": tested.filter(pl.col("neg_log_10_p_bonferroni") > -np.log10(0.05)).height,
        "significant_at_fdr_0.05": tested.filter(pl.col("neg_log_10_q_value") > -np.log10(0.05)).height,
    }
    for name, count in found.items():
        metadata[name] = metadata.get(name, 0) + count
    not_tested = metadata.setdefault("not_tested", {})
    for reason, count in counted_reasons(frame["reason"]):
        not_tested[reason] = not_tested.get(reason, 0) + count


def phewas_figures(run: StageRun, phewas: Partition, gwas_summary_stats: Partition, gene_hits: pl.DataFrame) -> Stored:
    """Volcano plots of the EDPs that traits are associated with most; that of the first beside its GWAS (Figure 7)."""
    from edp_assets.figures.association import Panel
    from edp_assets.figures.phenome import volcano, volcano_and_manhattan

    settings, threshold = run.workspace.settings.phewas, run.workspace.settings.association.threshold
    album = Album(run, (run["organ"], run["icd10"], "phewas"), ("icd10", "method", "cluster"))
    rows = phewas.scan().filter(pl.col("reason").is_null()).collect()
    hits = rows.filter(pl.col("neg_log_10_p_bonferroni") > -np.log10(settings.max_p))
    strongest = hits.sort("neg_log_10_p_value", descending=True).select("method", "cluster").unique(maintain_order=True)
    for rank, (method, cluster) in enumerate(strongest.head(settings.figures).iter_rows()):
        of = of_phenotype(method, cluster)
        drawn = partial(volcano, rows.filter(of), settings.max_p, phenotype_title(run, method, cluster))
        album.add("volcano", drawn, icd10=run["icd10"], method=method, cluster=cluster)
        if rank == 0:
            gwas = gwas_summary_stats.scan().filter(of).select(DRAWN).collect()
            panel = Panel("variants, and the genes hit", gwas, gene_hits.filter(of))
            beside = partial(
                volcano_and_manhattan, rows.filter(of), panel, max_p=settings.max_p, threshold=threshold,
                title=phenotype_title(run, method, cluster),
            )  # fmt: skip
            album.add("figure_7", beside, shown=False, icd10=run["icd10"], method=method, cluster=cluster)
    stored = album.stored()
    stored.metadata["phenotypes_with_traits"] = strongest.height
    return stored


def phewas_stages(name: str) -> Stage:
    """Define the phenome-wide scan of one encoder's phenotypes; of one that learned, its figures as well."""
    scan = stage(
        f"{name}/phewas",
        group=GROUP,
        dimensions=CELL,
        table="phewas",
        inputs={
            "edp_scores": PHENOTYPES[name].edp_scores,
            "participants": cohort.participants,
            "relatives": ancestry.relatives,
            "phenome_dictionary": phenome_dictionary,
            "phenome_traits": phenome_traits,
        },
        streamed=("edp_scores", "phenome_traits"),
        at_once=CELLS_AT_ONCE,
        settings=("phewas.covariates", "phewas.min_cases", "phewas.min_people"),
        kinds={"numpy", "parquet"},
        code_version="3",
    )(phewas)
    if name in LEARNED:
        stage(
            f"{name}/phewas_figures",
            group=GROUP,
            dimensions=CELL,
            table="phewas_figures",
            inputs={
                "phewas": scan,
                "gwas_summary_stats": ASSOCIATIONS[name].gwas_summary_stats,
                "gene_hits": ASSOCIATIONS[name].gene_hits,
            },
            streamed=("phewas", "gwas_summary_stats"),
            settings=("phewas.max_p", "phewas.figures", "association.threshold"),
            kinds={"matplotlib", "parquet"},
        )(phewas_figures)
    return scan


PHEWAS = {name: phewas_stages(name) for name in ENCODERS}
"""The scan of every encoder."""

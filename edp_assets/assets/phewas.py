"""The phenome-wide scan of an organ's EDPs (paper, appendix A.2), many codes together, and its volcano plots.

How a trait is tested is in `science.phenome`; which traits there are, in `phenome`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets import ancestry, cohort
from edp_assets.assets.album import Album
from edp_assets.assets.encoders import ENCODERS
from edp_assets.assets.people import without_relatives
from edp_assets.assets.phenome import GROUP, phenome_dictionary, phenome_traits
from edp_assets.assets.phenotypes import CELL, PHENOTYPES
from edp_assets.assets.score_gwas import cell_phenotypes
from edp_assets.assets.stage import Stage, StageRun, stage
from edp_assets.settings import PhewasSettings
from edp_assets.storage.columns import PHENOTYPE
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
    return Together(members, _rows(runs, members, edp_scores, *shared))


def _rows(
    runs: Sequence[StageRun],
    members: list[Stored],
    edp_scores: Sequence[Partition],
    participants: pl.DataFrame,
    relatives: pl.DataFrame,
    dictionary: pl.DataFrame,
    traits: Partition,
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield (cell's place, rows) of each phenotype."""
    from edp_assets.science.phenome.results import results_frame

    waiting: list[tuple[int, pl.DataFrame]] = []
    for place, of_cell in enumerate(edp_scores):
        waiting += [
            (place, phenotype) for phenotype in cell_phenotypes(of_cell, members[place].metadata) if phenotype.height
        ]
    for first in range(0, len(waiting), PHENOTYPES_AT_ONCE):
        some = waiting[first : first + PHENOTYPES_AT_ONCE]
        phenotypes, settings = [of for _, of in some], runs[0].workspace.settings.phewas
        results, told = scan_traits(phenotypes, participants, relatives, dictionary, traits, settings)
        for i, (place, phenotype) in enumerate(some):
            frame = results_frame(dictionary, results, i)
            label = phenotype.select(*PHENOTYPE).head(1)
            members[place].metadata.update(told)
            _count(frame, members[place].metadata)
            columns = label.join(frame, how="cross")
            yield place, columns.select(empty("phewas").columns)


def scan_traits(
    phenotypes: Sequence[pl.DataFrame],
    participants: pl.DataFrame,
    relatives: pl.DataFrame,
    dictionary: pl.DataFrame,
    traits: Partition,
    settings: PhewasSettings,
) -> tuple[list[Any], dict[str, Any]]:
    """Return the result of each row of the dictionary (None: it has no values), and what is told of the people."""
    from edp_assets.cohort.phenome import BLOCK
    from edp_assets.science.phenome.scan import PhenomeScan
    from edp_assets.science.phenome.traits import Rules

    scores = phenotypes[0].select("eid")
    for number, phenotype in enumerate(phenotypes):
        scores = scores.join(phenotype.select("eid", score="score").rename({"score": f"s{number}"}), on="eid")
    people, covariates, told = tested_people(scores, participants, relatives, settings.covariates)
    rules = Rules(settings.min_cases, settings.min_people)
    scan = PhenomeScan(people.select(pl.selectors.matches(r"^s\d+$")).to_numpy(), covariates, rules)
    results: list[Any] = [None] * dictionary.height
    placed = dictionary.with_row_index("row").filter(pl.col("place").is_not_null()).sort("place")
    stored = traits.scan()
    for first in range(0, placed.height, BLOCK):
        block = stored.filter(pl.col("block") == first // BLOCK).select("eid", "values").collect()
        values = people.select("eid").join(block, on="eid", how="left", maintain_order="left")["values"]
        of_block = placed[first : first + BLOCK]
        traits_here = [
            (values.list.get(at).fill_null(np.nan).to_numpy(), kind) for at, kind in enumerate(of_block["kind"])
        ]
        for row, result in zip(of_block["row"], scan.test_all(traits_here), strict=True):
            results[row] = result
    return results, told


def tested_people(
    scores: pl.DataFrame, participants: pl.DataFrame, relatives: pl.DataFrame, names: Sequence[str]
) -> tuple[pl.DataFrame, list[np.ndarray], dict[str, Any]]:
    """Return the unrelated people with every covariate, the covariates' columns, and what is told of them.

    A covariate that the cohort lacks altogether is left out of the model and named.
    """
    from edp_assets.science.genetics.covariates import indicator_columns

    present = [name for name in names if participants[name].null_count() < participants.height]
    joined = scores.join(participants.select("eid", *present), on="eid", how="left", maintain_order="left")
    complete = joined.drop_nulls(present)
    people = without_relatives(complete, relatives)
    columns: list[np.ndarray] = []
    for name in present:
        if name == "imaging_date":
            columns.append(people[name].str.to_date("%Y-%m-%d").to_physical().to_numpy().astype(float))
        elif people[name].dtype == pl.String:
            columns.append(indicator_columns(people[name].to_list()))
        else:
            columns.append(people[name].to_numpy().astype(float))
    told = {"people": people.height, "missing_covariate": joined.height - complete.height}
    told |= {"related": complete.height - people.height}
    lacking = [name for name in names if name not in present]
    return people, columns, told | ({"covariates_lacking": ", ".join(lacking)} if lacking else {})


def _count(frame: pl.DataFrame, metadata: dict[str, Any]) -> None:
    """Add to a cell's metadata how many of a phenotype's traits were tested and found, and why others were not."""
    tested = frame.filter(pl.col("reason").is_null())
    found = {
        "tests": tested.height,
        "significant_at_bonferroni_0.05": tested.filter(pl.col("neg_log_10_p_bonferroni") > -np.log10(0.05)).height,
        "significant_at_fdr_0.05": tested.filter(pl.col("neg_log_10_q_value") > -np.log10(0.05)).height,
    }
    for name, count in found.items():
        metadata[name] = metadata.get(name, 0) + count
    # Counts differ by trait: they are told together.
    reasons = Counter(frame["reason"].drop_nulls().str.replace_all(r"^\d+ ", "")).most_common()
    metadata["not_tested"] = dict(reasons)


def phewas_figures(run: StageRun, phewas: Partition) -> Stored:
    """A volcano plot of the cell's EDP that traits are associated with most, or of the first few."""
    from edp_assets.figures.phenome import volcano

    settings = run.workspace.settings.phewas
    album = Album(run, (run["organ"], run["icd10"], "phewas"), ("icd10", "method", "cluster"))
    rows = phewas.scan().filter(pl.col("reason").is_null()).collect()
    hits = rows.filter(pl.col("neg_log_10_p_bonferroni") > -np.log10(settings.max_p))
    strongest = hits.sort("neg_log_10_p_value", descending=True).select("method", "cluster").unique(maintain_order=True)
    for method, cluster in strongest.head(settings.figures).iter_rows():
        of = pl.col("method").eq(method) & pl.col("cluster").eq_missing(cluster)
        name = method if cluster is None else f"{method} {cluster}"
        title = f"{run['organ']}, {run['icd10']}, {name} ({run.encoder})"
        drawn = volcano(rows.filter(of), settings.max_p, title)
        album.add("volcano", drawn, icd10=run["icd10"], method=method, cluster=cluster)
    stored = album.stored()
    stored.metadata["phenotypes_with_traits"] = strongest.height
    return stored


def phewas_stages(name: str) -> Stage:
    """Define the phenome-wide scan of one encoder's phenotypes and its figures."""
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
        settings=("phewas",),
        kinds={"numpy", "parquet"},
    )(phewas)
    stage(
        f"{name}/phewas_figures",
        group=GROUP,
        dimensions=CELL,
        table="phewas_figures",
        inputs={"phewas": scan},
        streamed=("phewas",),
        settings=("phewas",),
        kinds={"matplotlib", "parquet"},
    )(phewas_figures)
    return scan


PHEWAS = {name: phewas_stages(name) for name in ENCODERS}
"""The scan of every encoder."""

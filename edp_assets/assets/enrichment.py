"""Every code in every cluster of an organ: Fisher's p corrected for all of them together (paper, section 4, Figure 3).

Selection reads the p of a cell alone, so that a changed label touches its own code; what that is worth among so many
tests is told here.
"""

from __future__ import annotations

import polars as pl

from edp_assets.assets.encoders import LEARNED
from edp_assets.assets.phenotypes import PHENOTYPES
from edp_assets.assets.stage import StageRun, stage
from edp_assets.storage.lake import Stored
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partitions

READ = ("encoder", "organ", "icd10", "method", "cluster", "cases", "controls", "percentage", "odds_ratio")


def cluster_enrichment(run: StageRun, phenotype_models: Partitions) -> Stored:
    """Fisher's exact test of every studied code in every cluster, with Bonferroni's p and the false discovery rate."""
    from edp_assets.science.phenotypes.enrichment import corrected

    models = [
        phenotype_models.partition(cell).columns(*READ, "neg_log_10_p_fisher") for cell in phenotype_models.stored()
    ]
    tests = pl.concat([empty("phenotype_models").select(*READ, "neg_log_10_p_fisher"), *models])
    tests = tests.filter(pl.col("method") == "clustering", pl.col("neg_log_10_p_fisher").is_not_null())
    bonferroni, q_value = corrected(tests["neg_log_10_p_fisher"].to_numpy())
    frame = tests.with_columns(
        neg_log_10_p_bonferroni=pl.Series(bonferroni, dtype=pl.Float64),
        neg_log_10_q_value=pl.Series(q_value, dtype=pl.Float64),
    ).sort("icd10", "cluster")
    found = frame.filter(pl.col("odds_ratio") > 1)
    alpha = 1.301  # 0.05
    counts = {
        "tests": frame.height,
        "enriched_at_bonferroni_0.05": found.filter(pl.col("neg_log_10_p_bonferroni") > alpha).height,
        "enriched_at_fdr_0.05": found.filter(pl.col("neg_log_10_q_value") > alpha).height,
    }
    return Stored(frame.select(empty("cluster_enrichment").columns), metadata=counts)


for _name in LEARNED:
    stage(
        f"{_name}/cluster_enrichment",
        group="phenotypes",
        dimensions=("organ",),
        table="cluster_enrichment",
        inputs={"phenotype_models": PHENOTYPES[_name].phenotype_models},
    )(cluster_enrichment)

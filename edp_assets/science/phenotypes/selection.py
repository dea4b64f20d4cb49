"""Which phenotypes go on to a GWAS, and why (paper, section 4). Pure decisions; the statistics are made elsewhere."""

from __future__ import annotations

import math

from edp_assets.settings import ClassifierSettings, ClusteringSettings, IslandSettings


def select_classifier(
    roc_auc_out_of_fold: float, neg_log_10_p_rank_sum: float, settings: ClassifierSettings
) -> tuple[bool, str]:
    """Decide on a code by its out-of-fold AUC and rank-sum p: the upper corner of the AUC-pval plot (paper, section 4).

    The best fold's AUC is not asked for: the best of ten is biased upwards.

    Returns:
        Whether it is selected, and the reason, with its figures.
    """
    if not roc_auc_out_of_fold >= settings.min_auc:
        return False, f"out-of-fold AUC {roc_auc_out_of_fold:.3f} is below {settings.min_auc:g}"
    if not neg_log_10_p_rank_sum >= -math.log10(settings.max_p):
        return False, f"rank-sum p {_p_text(neg_log_10_p_rank_sum)} is above {settings.max_p:g}"
    return True, f"out-of-fold AUC {roc_auc_out_of_fold:.3f}, rank-sum p {_p_text(neg_log_10_p_rank_sum)}"


def select_cluster(
    cases_in_cluster: int, odds_ratio: float, neg_log_10_p_fisher: float, settings: ClusteringSettings
) -> tuple[bool, str]:
    """Decide on a code in one cluster: odds ratio above 1, Fisher p at most `max_p`, at least `min_cases` cases inside.

    Returns:
        Whether it is selected, and the reason, with its figures.
    """
    if cases_in_cluster < settings.min_cases:
        return False, f"{cases_in_cluster} cases in the cluster, fewer than {settings.min_cases}"
    if not odds_ratio > 1:
        return False, f"not enriched: odds ratio {odds_ratio:.2f}"
    if not neg_log_10_p_fisher >= -math.log10(settings.max_p):
        return False, f"Fisher p {_p_text(neg_log_10_p_fisher)} is above {settings.max_p:g}"
    return True, f"odds ratio {odds_ratio:.2f}, Fisher p {_p_text(neg_log_10_p_fisher)}"


def select_island(
    cases_in_island: int, odds_ratio: float, p_permutation: float, settings: IslandSettings
) -> tuple[bool, str]:
    """Decide on an island: better than those of permuted labels, odds ratio above 1, at least `min_cases` cases inside.

    Fisher's p is not asked for: it holds for people chosen before looking at their labels, and an island's are not.

    Returns:
        Whether it is selected, and the reason, with its figures.
    """
    if not p_permutation <= settings.max_p:
        return False, f"no better than islands of permuted labels: p {p_permutation:.3g} is above {settings.max_p:g}"
    if cases_in_island < settings.min_cases:
        return False, f"{cases_in_island} cases in the island, fewer than {settings.min_cases}"
    if not odds_ratio > 1:
        return False, f"not enriched: odds ratio {odds_ratio:.2f}"
    return True, f"odds ratio {odds_ratio:.2f}, permutation p {p_permutation:.3g}"


def _p_text(neg_log_10_p: float) -> str:
    """Write a p-value from its -log10, however small: 1.3e-400."""
    if neg_log_10_p < 3:
        return f"{10**-neg_log_10_p:.3g}"
    exponent = math.ceil(neg_log_10_p)
    mantissa = round(10 ** (exponent - neg_log_10_p), 1)
    return f"{mantissa}e-{exponent}" if mantissa < 10 else f"1.0e-{exponent - 1}"

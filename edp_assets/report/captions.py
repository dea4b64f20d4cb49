"""How to read the figures that lie in files: what is said below them, and to who does not see them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edp_assets.assets.interpretation import ends, mapped

PAPER_FIGURES = {
    "score_histogram": ("Figure 2", "classifier-guided scores of the code's cases and of the others"),
    "auc_pval": ("Figure 2", "AUC and p of the codes' classifiers"),
    "cluster_enrichment": ("Figure 3", "the people of a cluster among all, and the codes enriched in it"),
    "percentage_pval": ("Figure 3", "codes enriched in all clusters"),
    "figure_4": (
        "Figure 4",
        "-log10 p by position of the code itself, in whole and imaging cohort, and of its strongest EDPs",
    ),
    "figure_5": (
        "Figure 5",
        "-log10 p by position of the classifier-guided score, before and after embeddings are adjusted",
    ),
    "figure_6": ("Figure 6", "-log10 p by position of the strongest phenotype, by few of the code's labels and by all"),
    "figure_7": ("Figure 7", "what the phenotype tracks (PheWAS), beside -log10 p by position"),
}
"""Kind of figure -> the paper's number of it, what it shows."""


def paper(figures: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return figures with the paper's `number` of each and what it `shows`, in the paper's order."""
    order = list(PAPER_FIGURES)
    named = [
        {**each, "number": PAPER_FIGURES[each["figure"]][0], "shows": PAPER_FIGURES[each["figure"]][1]}
        for each in figures
    ]
    return sorted(named, key=lambda each: order.index(each["figure"]))


def interpretation(figure: str, phenotype: str, method: str, people: int | None) -> dict[str, str]:
    """Return the caption and the alternative text of one of the figures of a score.

    Args:
        figure: its kind: tails, occlusion.
        phenotype: whose score, in words.
        method: of the score: a classifier's is high in the affected, the others' low.
        people: who have a score; None where that is not known.
    """
    high = method == "classifier"
    of_all = f" of {people:,} with a score" if people is not None else ""
    way = "High scores are the affected's." if high else "Low scores, small distances, are the affected's."
    if figure == "tails":
        n = _each(None if people is None else ends(people))
        alt = f"Slices of the {n} least and the {n} most affected people by the score of {phenotype}, side by side."
        caption = (
            f"The ends of the score: crops of the {n} people{of_all} who count as least affected, and of the {n} who "
            "count as most. The middle axial slice, a row a channel; above each how many standard deviations the "
            f"score is from the mean. {way}"
        )
    elif figure == "occlusion":
        n = _each(None if people is None else mapped(people))
        alt = (
            f"Slices of the {n} least and the {n} most affected people by the score of {phenotype}; below each the "
            "same slice, its patches red where they make the person count as more affected, blue where as less."
        )
        less, more = ("falls", "rises") if high else ("rises", "falls")
        caption = (
            f"Where the score looks, in the scans of the {n} least and the {n} most affected people{of_all}: a column "
            "is one scan, not a mean of several. Below its middle slice (the first channel), each of 8 by 8 patches is "
            f"hidden in turn. Red: with it hidden the person counts as less affected (the score {less}), so it speaks "
            f"for the trait; blue: as more affected (the score {more}), so it speaks against. The colour bar is in "
            "standard deviations of the score over people, the same for all columns; no colour: nothing of the organ."
        )
    else:
        alt = caption = f"{figure.replace('_', ' ')} of {phenotype}"
    return {"alt": alt, "caption": caption}


def _each(n: int | None) -> str:
    return "few" if n is None else str(n)

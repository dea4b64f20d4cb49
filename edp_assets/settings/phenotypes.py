"""Labels and phenotypes: which codes are studied, and how scores are made (paper, section 3)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edp_assets.settings.section import Section

CodeLevel = Annotated[int, Field(ge=3, le=7)] | Literal["chapter", "block"]


class ClassifierSettings(Section):
    """Classifier-guided score (paper, section 3.1)."""

    folds: int = Field(10, ge=3, description="stratified folds (section 4)")
    smote_neighbours: int = Field(5, ge=1, description="neighbours SMOTE draws from (Chawla et al. 2002)")
    smote: Literal["expected", "sampled"] = Field(
        "expected", description="moments SMOTE has on average, or imbalanced-learn's draws (slower, as good)"
    )
    seed: int = Field(0, ge=0, description="folds and SMOTE")
    min_auc: float = Field(0.6, description="least pooled out-of-fold ROC-AUC of a selected code")
    max_p: float = Field(0.01, description="largest rank-sum p of a selected code, each scored by the folds before")
    score: Literal["best_fold", "cross_fitted"] = Field(
        "best_fold", description="best_fold: one model for all (section 4); cross_fitted: nobody's by their own label"
    )


class ClusteringSettings(Section):
    """Clustering-guided score (paper, sections 3.2 and 4)."""

    algorithm: Literal["leiden", "kmeans", "agglomerative"] = Field("leiden", description="Leiden (section 4)")
    n_clusters: int | None = Field(
        None, ge=1, description="clusters of kmeans and agglomerative; null: as many as Leiden finds (our choice)"
    )
    n_neighbors: int = Field(10, ge=2, description="neighbours in the cosine graph (section 4)")
    resolution: float = Field(1.0, gt=0, description="Leiden resolution (section 4)")
    seed: int = Field(0, ge=0, description="Leiden and UMAP")
    stability_seeds: int = Field(
        5, ge=1, description="seeds whose partitions are compared by the adjusted Rand index (our choice)"
    )
    max_p: float = Field(0.05, description="largest Fisher p of an enriched code-cluster pair (Figure 3's line)")
    min_cases: int = Field(5, ge=1, description="fewest cases inside the cluster, that a mean embedding is of people")


class FewShotSettings(Section):
    """Phenotypes made again from a few of a code's positive labels (paper, section 4.4)."""

    codes: tuple[str, ...] = Field((), description="codes, or set.label, that it is done for; empty: none")
    fraction: float = Field(0.02, gt=0, le=1, description="share of imaged positives whose label is kept (Figure 6)")
    seed: int = Field(0, ge=0, description="which labels are kept")


class IslandSettings(Section):
    """Islands of cases (paper, section 3.2); the paper gives no numbers: all are our choice."""

    max_islands: int = Field(3, ge=0, description="most islands of a code; 0: the method is not run")
    neighbours: int = Field(
        100, ge=1, description="people within lambda of a person on average; at most a tenth of all people"
    )
    permutations: int = Field(199, ge=19, description="permuted labels that an island is tried against")
    max_p: float = Field(0.05, gt=0, le=1, description="largest p by permutation of an island")
    min_cases: int = Field(5, ge=1, description="fewest cases of an island, that a mean embedding is of people")
    seed: int = Field(0, ge=0, description="permutations, and people whose distances give lambda")


class LabelSetSettings(Section):
    """A set of binary labels beside ICD-10, such as medication (paper, section 3)."""

    table: str = Field(description="file in the folder: eid and label (long), or eid and a 0/1 column a label")
    labels: tuple[str, ...] = Field((), description="labels to study; empty: every one with min_cases imaged cases")
    min_cases: int = Field(20, ge=1, description="fewest people with the label in the imaging cohort")


SetName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]


class LabelSettings(Section):
    """Which ICD-10 codes and other binary labels become phenotypes (design, part 3)."""

    codes: tuple[str, ...] = Field((), description="codes to study; empty: every code with min_cases imaged cases")
    level: CodeLevel = Field(
        3, description="what codes are rolled up to: 3 to 7 characters (3 takes K76.0 to K76), block (K70-K77), chapter"
    )
    min_cases: int = Field(20, ge=1, description="fewest cases in the imaging cohort")
    sets: dict[SetName, LabelSetSettings] = Field(
        default_factory=dict, description="other binary labels by the name of their set; a phenotype is `set.label`"
    )

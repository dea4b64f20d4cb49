"""The paper's own numbers, as printed in its tables: to stand beside those of a real cohort, never a synthetic one.

Diseases are given as the ICD-10 codes of three characters that they are nearest to; the paper names them in words.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hits:
    """A row of Table 1: genes hit; `classifier_and_whole`, say, those of them that the whole cohort's code hits too."""

    icd10_whole_cohort: int
    icd10_imaging_cohort: int
    classifier: int
    clustering: int
    classifier_and_whole: int
    clustering_and_whole: int


TABLE_1: dict[tuple[str, str], Hits] = {
    ("liver", "K76"): Hits(7, 0, 5, 38, 5, 6),  # chronic non-alcoholic liver disease
    ("heart", "I50"): Hits(0, 0, 1, 8, 0, 0),  # heart failure
    ("kidneys", "E11"): Hits(118, 1, 8, 29, 0, 1),  # type 2 diabetes
    ("spleen", "R16"): Hits(0, 0, 1, 53, 0, 0),  # splenomegaly
    ("thigh_bones", "M81"): Hits(13, 0, 16, 7, 2, 0),  # osteoporosis
}
"""Genes hit by organ and code (45,714 imaged, 408,961 genotyped people)."""

_ORGANS = ("liver", "kidneys", "lungs", "heart")


def _by_organ(organs: tuple[str, ...], **rows: tuple[float, ...]) -> dict[tuple[str, str], float]:
    return {(name, organ): value for name, values in rows.items() for organ, value in zip(organs, values, strict=True)}


TABLE_2 = _by_organ(_ORGANS, mae=(343, 232, 229, 296), video_mae=(297, 288, 192, 311), organ_volume=(12, 7, 11, 18))
"""Associations of all EDPs (classifier and clustering) of an encoder, and of organ volume, by (source, organ)."""

COMBINED = "combined"
"""What the organs together are called."""

TABLE_3 = _by_organ(
    (*_ORGANS, "thigh_bones", COMBINED),
    mae=(4.2, 4.1, 3.7, 3.9, 3.8, 2.9),
    video_mae=(4.1, 4.1, 3.9, 3.8, 4.0, 2.8),
    organ_volume=(18.3, 16.1, 13.7, 19.2, 12.4, 9.7),
)
"""Mean absolute error of chronological age, years, by (source, organ)."""

TABLE_4_R = _by_organ(_ORGANS, mae=(0.95, 0.96, 0.97, 0.96))
"""Pearson r of volume predicted from embeddings, by (source, organ)."""
TABLE_4_ERROR = _by_organ(_ORGANS, mae=(1.2, 1.3, 0.79, 1.6))
"""Mean absolute error of the same, per cent."""

TABLE_6 = {"S": 142, "B": 297, "L": 207}
"""Associations in the liver by size of the vision transformer (MAE)."""

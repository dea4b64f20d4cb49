"""Who is held out together: an organ's base folds with their moments, and a code's folds upon them. No model.

A code's cases are spread over the folds on their own; everybody else keeps the fold that the organ gave them, so that
the moments of a code's controls are an organ's less those of its few cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edp_assets.science.phenotypes.discriminant import Moments
from edp_assets.science.phenotypes.errors import PhenotypeError

UNEVEN = 0.1
"""Folds are drawn for a code alone where its larger class is off an even share in some fold by more than this part."""

BLOCK = 8192
"""Rows turned to centred float64 at once."""


@dataclass(frozen=True)
class Frame:
    """Origin (n_dims,) and principal axes (n_dims, n_dims) of an organ's embeddings.

    A score does not depend on either. Along the principal axes small components are not rounded by large ones, so that
    float32 keeps the moments' every direction to seven digits.
    """

    centre: NDArray[np.float64]
    axes: NDArray[np.float64]

    @classmethod
    def of(cls, z: NDArray) -> Frame:
        """Return the frame of `z` (n_participants, n_dims).

        Raises:
            PhenotypeError: `z` does not vary.
        """
        centre = z.mean(axis=0, dtype=np.float64)
        outer = np.zeros((z.shape[1], z.shape[1]))
        for start in range(0, len(z), BLOCK):
            people = z[start : start + BLOCK] - centre
            outer += people.T @ people
        if not np.trace(outer) > 1e-24 * len(z) * float(centre @ centre):
            raise PhenotypeError("the embeddings do not vary")
        return cls(centre, np.linalg.eigh(outer)[1])


class Folds:
    """A fold of everybody, with each fold's moments and its people's embeddings side by side.

    Args:
        z: (n_participants, n_dims).
        frame: what embeddings are moved by and turned to.
        fold: (n_participants,) each one's fold, 0, 1, ...

    Attributes:
        fold: as given.
        count: number of folds.
        starts: (count + 1,) where each fold starts among people sorted by fold.
        position: (n_participants,) where in that order each one stands.
        ordered: (n_participants, n_dims) float32, embeddings in the frame, in that order.
        moments: of each fold's people in the frame.
    """

    def __init__(self, z: NDArray, frame: Frame, fold: NDArray[np.intp]) -> None:
        self.fold, self.count = fold, int(fold.max()) + 1
        order = np.argsort(fold, kind="stable")
        self.starts = np.searchsorted(fold[order], np.arange(self.count + 1))
        self.position = np.empty_like(order)
        self.position[order] = np.arange(len(fold))
        self.ordered = np.empty(z.shape, dtype=np.float32)
        self.moments = []
        for f in range(self.count):
            moments = Moments.none(z.shape[1])
            for start in range(self.starts[f], self.starts[f + 1], BLOCK):
                rows = slice(start, min(start + BLOCK, self.starts[f + 1]))
                people = (z[order[rows]] - frame.centre) @ frame.axes
                self.ordered[rows] = people
                moments = moments + Moments.of(people)
            self.moments.append(moments)

    def is_even_for(self, larger: NDArray[np.bool_]) -> bool:
        """Tell whether the people of `larger` (n_participants,) are spread evenly enough over the folds."""
        counts = np.bincount(self.fold[larger], minlength=self.count)
        return bool(np.abs(counts / counts.mean() - 1).max() <= UNEVEN)


def random_folds(n: int, folds: int, seed: int) -> NDArray[np.intp]:
    """Return a fold (n,) for each of n people, drawn at random, sizes equal to one."""
    return np.random.default_rng(seed).permutation(np.arange(n) % folds)


def stratified_folds(cases: NDArray[np.bool_], folds: int, seed: int) -> NDArray[np.intp]:
    """Return scikit-learn's stratified fold (n_participants,) of everybody, cases and controls spread evenly."""
    from sklearn.model_selection import StratifiedKFold

    fold = np.empty(len(cases), dtype=np.intp)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for f, (_, held_out) in enumerate(splitter.split(np.zeros((len(cases), 1)), cases)):
        fold[held_out] = f
    return fold


def checked_folds(folds: NDArray, n_participants: int) -> NDArray[np.intp]:
    """Return given folds (n_participants,) as integers.

    Raises:
        ValueError: not integers 0, 1, ..., one a participant, of at least 3 folds with somebody in each.
    """
    folds = np.asarray(folds)
    if folds.shape != (n_participants,) or not np.issubdtype(folds.dtype, np.integer):
        raise ValueError(
            f"folds must be integers, one a participant ({n_participants}), found {folds.dtype} of {folds.shape}"
        )
    used = np.unique(folds)
    if len(used) < 3 or used[0] != 0 or used[-1] != len(used) - 1:
        raise ValueError(f"folds must be 0, 1, ... and at least 3 folds, found {used.tolist()[:20]}")
    return folds.astype(np.intp)


def check_counts(cases: NDArray[np.bool_], folds: int) -> None:
    """Refuse a code that cannot fill the folds.

    Raises:
        PhenotypeError: no cases or controls, or fewer than folds.
    """
    n_cases, n_controls = int(cases.sum()), int((~cases).sum())
    for count, name in ((n_cases, "cases"), (n_controls, "controls")):
        if count == 0:
            raise PhenotypeError(f"no {name}")
        if count < folds:
            raise PhenotypeError(f"fewer {name} ({count}) than folds ({folds})")


def check_strata(cases: NDArray[np.bool_], fold: NDArray[np.intp], folds: int) -> None:
    """Refuse folds given from outside of which one has no case or no control.

    Raises:
        PhenotypeError: naming the fold.
    """
    for mask, name in ((cases, "cases"), (~cases, "controls")):
        empty = np.flatnonzero(np.bincount(fold[mask], minlength=folds) == 0)
        if len(empty):
            raise PhenotypeError(f"fold {empty[0]} holds no {name}")

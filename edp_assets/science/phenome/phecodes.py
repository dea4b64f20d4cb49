"""Phecodes: who is a case, a control or neither, from ICD-10 diagnoses (PheWAS of Carroll et al. 2014, phecode 1.2).

A code counts for its phecode and that phecode's parents (585.3 for 585). A control has no phecode of the exclusion
range; who has one and is no case is neither. A phecode of one sex is of people of that sex alone. One diagnosis makes
a case: the PheWAS package's two or more are for billing records. Reading the tables is in `cohort.phecodes`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

PHECODE = re.compile(r"0*(\d+)(?:\.(\d*?)0*)?")
RANGE = re.compile(r"\s*([\d.]+)\s*(?:-\s*([\d.]+)\s*)?")
SHORTEST = 3
"""Characters of the ICD-10 category to which a code that the map does not hold is shortened, and no further."""

FEMALE, MALE = 0.0, 1.0
SEXES = {"female": FEMALE, "f": FEMALE, "male": MALE, "m": MALE}
"""What a table calls the sex that a phecode is restricted to; anything else is both."""


def canonical(phecode: str) -> str:
    """Return a phecode in its one spelling, as a number without needless zeros.

    Raises:
        ValueError: it is none of phecode 1.2.

    >>> canonical("008.50"), canonical("250.2"), canonical("714.00")
    ('8.5', '250.2', '714')
    """
    found = PHECODE.fullmatch(phecode.strip())
    if found is None:
        raise ValueError(f"wanted a phecode as a number, such as 250.2, found {phecode!r}")
    whole, decimals = found.groups()
    return f"{whole}.{decimals}" if decimals else whole


def parents(phecode: str) -> list[str]:
    """Return the phecodes that one counts for beside itself, the nearest first.

    >>> parents("250.21"), parents("250")
    (['250.2', '250'], [])
    """
    whole, _, decimals = phecode.partition(".")
    return [f"{whole}.{decimals[:n]}" if n else whole for n in range(len(decimals) - 1, -1, -1)]


def ranges(text: str | None) -> list[tuple[float, float]]:
    """Return an exclusion range as bounds, both inclusive.

    Raises:
        ValueError: it is none.

    >>> ranges("690-697.99, 714-714.99")
    [(690.0, 697.99), (714.0, 714.99)]
    """
    bounds = []
    for part in (text or "").split(",") if text and text.strip() else []:
        found = RANGE.fullmatch(part)
        if found is None:
            raise ValueError(f"wanted exclusions as 249-250.99, found {part.strip()!r}")
        low, high = found.groups()
        bounds.append((float(low), float(high or low)))
    return bounds


@dataclass(frozen=True)
class PhecodeMap:
    """What the published tables say.

    Attributes:
        codes: icd10 (as K760) and phecode, one row a pair; phecode null where the map says that a code has none.
        definitions: phecode, description, category, sex (0, 1 or null), exclude (ranges as text), rollup (whether it
            counts for its parents).
        excluded: phecode -> phecodes whose people are no controls of it, where a table lists them one by one.
    """

    codes: pl.DataFrame
    definitions: pl.DataFrame
    excluded: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Mapped:
    """The phecodes of some people: rows of `table` are the columns of `cases` (n_participants, n_phecodes)."""

    table: pl.DataFrame
    cases: Any
    excluding: Any
    sex: NDArray[np.float64]
    by_category: int
    unmapped: int

    def status(self, places: Sequence[int]) -> NDArray[np.float64]:
        """Return 1 for a case, 0 for a control, NaN for neither: (n_participants, len(places))."""
        case = self.cases[:, list(places)].toarray() > 0
        near = (self.cases @ self.excluding[:, list(places)]).toarray() > 0
        status = np.where(case, 1.0, np.where(near, np.nan, 0.0))
        only = self.table["sex"].to_numpy()[list(places)]
        status[(self.sex[:, None] != only) & ~np.isnan(only)] = np.nan
        return status


def map_diagnoses(
    diagnoses: pl.DataFrame, people: pl.Series, sex: NDArray[np.floating], phecode_map: PhecodeMap
) -> Mapped:
    """Return the phecodes that the people have.

    Args:
        diagnoses: eid, icd10 (as K760); of others than the people too.
        people: eids (n_participants,).
        sex: (n_participants,) 0 female, 1 male, NaN unknown.
        phecode_map: the published tables.

    Returns:
        Phecodes that any of them has, by number. A diagnosis whose code the map does not hold counts for the longest
        shorter one that it does (N183 for N18), down to the category; one that it holds without a phecode (N188) counts
        for none. `by_category` and `unmapped` count codes.
    """
    from scipy import sparse

    of_people = diagnoses.join(people.to_frame("eid"), on="eid", how="semi")
    used = of_people["icd10"].unique().to_list()
    known = {code: part["phecode"].drop_nulls().to_list() for (code,), part in phecode_map.codes.group_by("icd10")}
    found = {code: _longest(code, known) for code in used}
    defined = {row["phecode"]: row for row in phecode_map.definitions.iter_rows(named=True)}
    pairs = [
        (code, each)
        for code, held in found.items()
        if held is not None
        for each in dict.fromkeys(up for phecode in known[held] for up in _counts_for(phecode, defined))
    ]
    named = pl.DataFrame(pairs, schema={"icd10": pl.String, "phecode": pl.String}, orient="row")
    table = _table(named["phecode"].unique(), defined)
    column = pl.DataFrame({"phecode": table["phecode"], "column": np.arange(table.height)})
    row = pl.DataFrame({"eid": people, "row": np.arange(people.len())})
    entries = of_people.join(named, on="icd10").join(column, on="phecode").join(row, on="eid")
    entries = entries.select("row", "column").unique()
    shape = people.len(), table.height
    ones = np.ones(entries.height, dtype=np.float32)
    cases = sparse.csc_array((ones, (entries["row"].to_numpy(), entries["column"].to_numpy())), shape=shape)
    excluding = sparse.csc_array(_excluding(table, phecode_map))
    shortened = sum(held != code and bool(known.get(held or "")) for code, held in found.items())
    unmapped = sum(not known.get(held or "") for held in found.values())
    return Mapped(table, cases, excluding, np.asarray(sex, np.float64), shortened, unmapped)


def _longest(code: str, known: Mapping[str, list[str]]) -> str | None:
    shorter = (code[:n] for n in range(len(code), SHORTEST - 1, -1))
    return next((each for each in shorter if each in known), None)


def _counts_for(phecode: str, defined: Mapping[str, dict[str, Any]]) -> list[str]:
    """Return a phecode with its parents, unless the table keeps it out of them."""
    rolls_up = phecode not in defined or defined[phecode]["rollup"]
    return [phecode, *parents(phecode)] if rolls_up else [phecode]


def _table(phecodes: pl.Series, defined: Mapping[str, dict[str, Any]]) -> pl.DataFrame:
    """Return phecode, description, category, sex, exclude of each, by number; a parent without a row says so."""
    rows = []
    for phecode in sorted(phecodes, key=float):
        row = defined.get(phecode)
        if row is None:
            below = [each for name, each in defined.items() if phecode in parents(name)]
            row = {
                "phecode": phecode,
                "description": f"Phecode {phecode}, with those below it",
                "category": below[0]["category"] if below else None,
                "sex": below[0]["sex"] if len({each["sex"] for each in below}) == 1 else None,
                "exclude": _own_range(phecode, [each["exclude"] for each in below if each["exclude"]]),
            }
        rows.append({name: row[name] for name in ("phecode", "description", "category", "sex", "exclude")})
    text = dict.fromkeys(("phecode", "description", "category"), pl.String)
    return pl.DataFrame(rows, schema={**text, "sex": pl.Float64, "exclude": pl.String}, orient="row")


def _own_range(phecode: str, below: Sequence[str]) -> str | None:
    """Return the exclusions of a parent without a row: those of the most of its children that hold the parent itself.

    Not all of them together: a complication's are wider by what it complicates (250.23's hold glaucoma).
    """
    number = float(phecode)
    holding = [text for text in below if any(low <= number <= high for low, high in ranges(text))]
    counts = Counter(holding or below)
    return counts.most_common(1)[0][0] if counts else None


def _excluding(table: pl.DataFrame, phecode_map: PhecodeMap) -> NDArray[np.float32]:
    """Return 1 where people with the row's phecode are no controls of the column's (n_phecodes, n_phecodes)."""
    names = table["phecode"].to_list()
    numbers = np.array([float(name) for name in names])
    excluding = np.zeros((len(names), len(names)), dtype=np.float32)
    for column, (name, text) in enumerate(table.select("phecode", "exclude").iter_rows()):
        listed = phecode_map.excluded.get(name)
        if listed is not None:
            excluding[:, column] = [each in listed for each in names]
            continue
        for low, high in ranges(text):
            # Bounds are decimals of two digits: 250.99 is beyond none of 250's.
            excluding[:, column] += (numbers >= low - 1e-9) & (numbers <= high + 1e-9)
    return np.minimum(excluding, 1)

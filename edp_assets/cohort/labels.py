"""ICD-10 codes: one spelling, rolled up to the level under study, and the choice of which become phenotypes.

Codes as text belong here; reading the diagnoses is in `tables`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import polars as pl

from edp_assets.cohort.config import FILE
from edp_assets.cohort.icd10 import block, chapter
from edp_assets.cohort.problems import Problem
from edp_assets.settings import CodeLevel, LabelSettings

CODE = r"^[A-Za-z][0-9][0-9A-Za-z]\.?[0-9A-Za-z]{0,4}$"
"""A letter, a digit, a digit or letter (ICD-10-CM's C7A), a dot only there, and up to four more characters."""

BLANKS = " \t\r\n\v\f\u00a0"


def normalise_code(code: str) -> str | None:
    """Return a code in its one spelling (K760 for " k76.0 "), or None where it is no ICD-10 code.

    >>> normalise_code(" k76.0 ")
    'K760'
    """
    stripped = code.strip(BLANKS)
    return stripped.upper().replace(".", "") if re.fullmatch(CODE, stripped) else None


def normalise_codes(codes: pl.Series) -> pl.Series:
    """Return `normalise_code` of each: null where it is no ICD-10 code."""
    stripped = codes.cast(pl.String).str.strip_chars(BLANKS)
    spelled = stripped.str.to_uppercase().str.replace_all(".", "", literal=True)
    nothing = pl.Series([None], dtype=pl.String)
    return spelled.zip_with(stripped.str.contains(CODE).fill_null(False), nothing).alias(codes.name)


def roll_up(codes: pl.Series, level: CodeLevel) -> pl.Series:
    """Return what normalised codes count for at a level: K760 for K76 at 3, K70-K77 at "block", XI at "chapter".

    A code that stands in no chapter or block of WHO's ICD-10 is null there.

    Raises:
        ValueError: if the level is neither 3 to 7 nor "block" or "chapter".
    """
    if level in ("block", "chapter"):
        place = block if level == "block" else chapter
        known = {code: place(code) for code in codes.unique().drop_nulls()}
        return codes.replace_strict(known, default=None, return_dtype=pl.String)
    if not isinstance(level, int) or not 3 <= level <= 7:
        raise ValueError(
            f"level: wanted 3 to 7 characters of an ICD-10 code, block or chapter, found {level}; set [labels] level"
        )
    return codes.str.slice(0, level)


def case_table(diagnoses: pl.DataFrame, level: CodeLevel) -> pl.DataFrame:
    """Return who is a case of what: unique rows of icd10, eid, sorted; everyone else is a control.

    Args:
        diagnoses: columns eid, icd10 (normalised), as `tables.read_diagnoses` gives them.
        level: what codes are rolled up to; codes that stand nowhere there (see `roll_up`) have no row.
    """
    rolled = diagnoses.select(roll_up(diagnoses["icd10"], level), "eid").drop_nulls("icd10")
    return rolled.unique().sort("icd10", "eid")


def choose_codes(
    case_table: pl.DataFrame, imaged_eids: Iterable[str], settings: LabelSettings
) -> tuple[list[str], list[Problem]]:
    """Choose the codes that become phenotypes: those asked for, else all, with `min_cases` cases among the imaged.

    Args:
        case_table: columns icd10, eid, at `settings.level`.
        imaged_eids: the imaging cohort.
        settings: codes (in any spelling), level, min_cases.

    Returns:
        The codes, in the order asked for or sorted, and the problems: "excluded" for a code with too few cases,
        "refused" for a text that cannot be a code.
    """
    imaged = pl.DataFrame({"eid": pl.Series(list(imaged_eids), dtype=pl.String).unique()})
    cases = case_table.select("icd10", "eid").unique().join(imaged, on="eid", how="semi")
    counts = dict(cases.group_by("icd10").len().iter_rows())
    if settings.codes:
        return _choose_asked(counts, case_table, settings)
    chosen = sorted(code for code, n in counts.items() if n >= settings.min_cases)
    n_few = len(counts) - len(chosen)
    if not n_few and chosen:
        return chosen, []
    wanted = f"codes with at least {settings.min_cases} cases in the imaging cohort"
    found = f"{len(chosen)} codes with as many; {n_few} codes with fewer, which are left out"
    remedy = "nothing, or lower [labels] min_cases"
    return chosen, [Problem("note" if chosen else "excluded", FILE, "[labels] min_cases", wanted, found, remedy)]


def _choose_asked(
    counts: dict[str, int], case_table: pl.DataFrame, settings: LabelSettings
) -> tuple[list[str], list[Problem]]:
    whole = dict(case_table.unique().group_by("icd10").len().iter_rows())
    chosen: list[str] = []
    problems: list[Problem] = []
    for asked in settings.codes:
        where = f"[labels] codes, {asked!r}"
        # Codes name partitions and files: nothing but letters and digits may come through.
        code = asked.strip().upper().replace(".", "")
        if not re.fullmatch(r"[A-Z0-9]+(-[A-Z0-9]+)?" if settings.level == "block" else "[A-Z0-9]+", code):
            wanted = "an ICD-10 code of the characters A-Z, 0-9 and one dot"
            problems.append(Problem("refused", FILE, where, wanted, repr(asked), "write the code, for example K76"))
        elif counts.get(code, 0) >= settings.min_cases:
            chosen += [code] if code not in chosen else []
        else:
            found = f"{counts.get(code, 0)} of its {whole.get(code, 0)} cases in the whole cohort are imaged"
            remedy = "remove the code, lower [labels] min_cases, or check the diagnoses table"
            (rolled,) = roll_up(pl.Series([code], dtype=pl.String), settings.level)
            if rolled is not None and rolled != code:
                finer = f", or set [labels] level = {len(code)}" if re.fullmatch(CODE, code) else ""
                remedy = f'write "{rolled}"{finer}'
                unit = " characters" if isinstance(settings.level, int) else ""
                found += f"; codes are rolled up to {settings.level}{unit}"
            wanted = f"at least {settings.min_cases} cases in the imaging cohort"
            problems.append(Problem("excluded", FILE, where, wanted, found, remedy))
    return chosen, problems

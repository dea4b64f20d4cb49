"""Names of UK Biobank's columns, in each spelling that exports have: field, instance, array.

Names alone belong here; what stands in the columns is in `values`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

EID_NAMES = ("eid", "f.eid", "participant.eid", "Participant ID", "n_eid", "xeid")

TITLES = {
    31: "Sex",
    34: "Year of birth",
    52: "Month of birth",
    53: "Date of attending assessment centre",
    54: "UK Biobank assessment centre",
    21001: "Body mass index (BMI)",
    21003: "Age when attended assessment centre",
    22000: "Genotype measurement batch",
    22006: "Genetic ethnic grouping",
    22009: "Genetic principal components",
    40001: "Underlying (primary) cause of death: ICD10",
    40002: "Contributory (secondary) causes of death: ICD10",
    41202: "Diagnoses - main ICD10",
    41204: "Diagnoses - secondary ICD10",
    41270: "Diagnoses - ICD10",
    41280: "Date of first in-patient diagnosis - ICD10",
}
"""The Showcase's titles of fields, as RAP's Table exporter writes them where it is asked for titles."""

SHARED_TITLES = {21001: 23104}
"""Fields whose title another field has too: BMI from weight and height, and BMI of the impedance scales."""

_SPELLINGS = (
    # RAP: Table exporter, `dx extract_dataset`, Spark. Instance and array are named where the field has several.
    re.compile(r"(?:participant\.)?p(?P<field>\d+)(?:_i(?P<instance>\d+))?(?:_a(?P<array>\d+))?"),
    # ukbconv csv and txt, r, sas and spss, stata; and what R's read.csv makes of the first.
    re.compile(r"(?P<field>\d+)-(?P<instance>\d+)\.(?P<array>\d+)"),
    re.compile(r"f\.(?P<field>\d+)\.(?P<instance>\d+)\.(?P<array>\d+)"),
    re.compile(r"(?:x|n_|s_|ts_)(?P<field>\d+)_(?P<instance>\d+)_(?P<array>\d+)"),
    re.compile(r"X(?P<field>\d+)\.(?P<instance>\d+)\.(?P<array>\d+)"),
)
_TITLE = re.compile(r"(?P<title>.+?)(?: \| Instance (?P<instance>\d+))?(?: \| Array (?P<array>\d+))?")
_FIELDS = {title.casefold(): field for field, title in TITLES.items()}


@dataclass(frozen=True, order=True)
class Key:
    """What a column holds; `array` is None where the name has none: one value, or all of an array packed in a text."""

    field: int
    instance: int
    array: int | None

    @property
    def name(self) -> str:
        """UK Biobank's own way of writing it, the same for every spelling: 21001-2.0."""
        return f"{self.field}-{self.instance}.{self.array or 0}"


def parse_column(name: str) -> Key | None:
    """Return what a column's name says, or None where it is no field of a participant (the eid, say).

    >>> parse_column("participant.p21001_i2"), parse_column("f.22009.0.3")
    (Key(field=21001, instance=2, array=None), Key(field=22009, instance=0, array=3))
    >>> parse_column("Body mass index (BMI) | Instance 2")
    Key(field=21001, instance=2, array=None)
    """
    name = name.strip()
    for spelling in _SPELLINGS:
        if found := spelling.fullmatch(name):
            return _key(int(found["field"]), found)
    found = _TITLE.fullmatch(name)
    field = _FIELDS.get(found["title"].casefold()) if found else None
    return _key(field, found) if found and field is not None else None


def is_title(name: str) -> bool:
    """Say whether a column is known by its title alone."""
    return not any(spelling.fullmatch(name.strip()) for spelling in _SPELLINGS) and parse_column(name) is not None


def _key(field: int, found: re.Match[str]) -> Key:
    array = found["array"]
    return Key(field, int(found["instance"] or 0), None if array is None else int(array))


def eid_column(header: list[str]) -> str | None:
    """Return the header's name of the eid column, as it is written; None where there is none."""
    known = {name.casefold() for name in EID_NAMES}
    return next((name for name in header if name.strip().casefold() in known), None)

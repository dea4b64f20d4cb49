"""The page of scans: files are told by pattern and hash, never by id."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from edp_assets.report.scans import OTHER, _left_out, described, pattern

FOLDER = Path("/data/cohort")


@pytest.mark.parametrize(
    ("path", "eid", "wanted"),
    [
        ("/data/cohort/images/7100001_liver.nii.gz", "7100001", "images/{eid}_liver.nii.gz"),
        ("/data/cohort/sub-0012/t12.nii", "12", "sub-{eid}/t{eid}.nii"),
        ("/data/cohort/images/71000012.nii", "7100001", "images/71000012.nii"),
        ("/elsewhere/7100001.nii", "7100001", "…/{eid}.nii"),
        ("/data/cohort/images/A1B.nii", "A1B", "images/{eid}.nii"),
    ],
)
def test_pattern__has_no_id_and_no_place_of_the_machine(path: str, eid: str, wanted: str) -> None:
    assert pattern(path, eid, FOLDER) == wanted


def scans(names: list[str]) -> pl.DataFrame:
    rows = [
        {"eid": f"{k + 100}", "mask": f"{FOLDER}/{name.format(eid=k + 100)}", "mask_label": None,
         "images": [f"{FOLDER}/fat/{k + 100}.nii"], "signature": f"1:{k} 2:{k}"} for k, name in enumerate(names)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"mask_label": pl.String})


def test_described__counts_patterns_and_hides_names_that_few_scans_share() -> None:
    patterns, listed = described(scans(["m/{eid}.nii"] * 8 + ["of Ada.nii", "of Bob.nii"]), FOLDER, ("fat",))
    assert patterns.rows() == [("fat", "fat/{eid}.nii", 10), ("mask", OTHER, 2), ("mask", "m/{eid}.nii", 8)]
    assert listed["scan"].to_list() == list(range(1, 11))
    assert listed["signature"].is_sorted()
    assert listed["signature"].n_unique() == 10


def test_described__a_replaced_file_has_another_hash() -> None:
    rows = scans(["m/{eid}.nii"] * 6)
    replaced = rows.with_columns(signature=pl.when(pl.col("eid") == "103").then(pl.lit("9:9")).otherwise("signature"))
    before, after = (set(described(each, FOLDER, ("fat",))[1]["signature"]) for each in (rows, replaced))
    assert len(before & after) == 5


def test_left_out__is_of_scans_not_of_people_in_an_association() -> None:
    rows = [("masked_crops", "empty mask"), ("mae/association_basis", "no genotype"), ("scans", "withdrawn")]
    excluded = pl.DataFrame({"organ": "liver", "stage": [r[0] for r in rows], "reason": [r[1] for r in rows]})
    sources = SimpleNamespace(results=SimpleNamespace(table=lambda name: {"excluded": excluded}[name]))
    assert _left_out(sources, "liver").rows() == [("masked_crops", "empty mask", 1), ("scans", "withdrawn", 1)]  # type: ignore[arg-type]

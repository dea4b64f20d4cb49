"""A home with planted results, written straight to the lake: with names of codes that markup and paths trip over."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from edp_assets.storage import warehouse
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Lake, Stored, cell_of
from edp_assets.storage.schemas import SCHEMAS

ORGANS = ("liver", "left_kidney-2")
CODES = ("K76", """set.<b>&"q'/%2F..é""", "I10")
SHOWN = (("liver", CODES[0]), ("liver", CODES[1]), ("left_kidney-2", CODES[0]))
"""The cells with a selected phenotype."""
EIDS = [f"7{number:06}" for number in range(60)]
N_VARIANTS = 3_000
GENE, VARIANT = "FTO<i>", 1234
"""The gene that the classifier-guided score of liver and K76 hits, and the place of its variant."""
THRESHOLD = 7.3

_DEFAULTS: dict[Any, Any] = {pl.String: "x", pl.Boolean: False, pl.Int64: 1, pl.Int32: 1, pl.Float64: 0.5,
                             pl.Float32: 0.5}  # fmt: skip


def filled(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Return rows of a stored table; columns that are not given are null, or a value of their type."""
    columns = {}
    for name, column in SCHEMAS[table].items():
        usual = None if column.nullable else _DEFAULTS.get(column.dtype, [])
        columns[name] = pl.Series(name, [row.get(name, usual) for row in rows], dtype=column.dtype)
    return pl.DataFrame(columns)


def phenotypes(organ: str, icd10: str) -> tuple[tuple[str, int | None], ...]:
    """Return method and cluster of a cell's selected phenotypes: the first cell alone has two."""
    return (("classifier", None), ("clustering", 2)) if (organ, icd10) == SHOWN[0] else (("classifier", None),)


def statistics(organ: str, icd10: str, seed: int, hit: float = 12.0) -> pl.DataFrame:
    """Return the summary statistics of a classifier- and a clustering-guided score; the first one has a hit."""
    frames = []
    for method, cluster in phenotypes(organ, icd10):
        p = -np.log10(np.random.default_rng([seed, len(method)]).uniform(size=N_VARIANTS))
        if method == "classifier":
            p[VARIANT] = hit
        rows = pl.DataFrame({"neg_log_10_p_value": p}).with_row_index("k")
        frames.append(
            rows.select(
                encoder=pl.lit("mae"), organ=pl.lit(organ), icd10=pl.lit(icd10), method=pl.lit(method),
                cluster=pl.lit(cluster, pl.Int32), chromosome=(pl.col("k") % 3 + 1).cast(pl.String),
                base_pair_location=pl.col("k").cast(pl.Int64) * 1000, effect_allele=pl.lit("A"),
                other_allele=pl.lit("G"), effect_allele_frequency=pl.lit(0.3), beta=pl.lit(0.1),
                standard_error=pl.lit(0.02), neg_log_10_p_value="neg_log_10_p_value",
                rsid=pl.format("rs{}", "k"), n=pl.lit(60),
            )
        )  # fmt: skip
    return pl.concat(frames)


class Planted:
    """The home, with its lake and warehouse."""

    def __init__(self, root: Path) -> None:
        self.cohort = _write_cohort(root / "cohort")
        self.home = Home(root / "home")
        self.home.root.mkdir(parents=True)
        (self.home.root / "cohort.json").write_text(json.dumps({"cohort": str(self.cohort)}))
        self.lake = Lake(self.home.lake)
        self.assets: dict[tuple[str, ...], str] = {}
        self._plant()
        self.mirror()

    def store(
        self,
        asset: str,
        table: str,
        rows: pl.DataFrame | Iterable[pl.DataFrame],
        notes: Any = None,
        **keys: str,
    ) -> None:
        """Store one partition."""
        name = tuple(asset.split("/"))
        self.assets[name] = table
        self.lake.write(name, cell_of(keys), table, Stored(rows, notes=notes or {}), "planted")

    def forget(self, *assets: str) -> None:
        """Take assets out of lake and warehouse, as if they had not been made."""
        for asset in assets:
            shutil.rmtree(self.lake.root.joinpath(*asset.split("/")))
        self.mirror()

    def plant_failure(self, asset: str, check: str, severity: str = "error", **keys: str) -> None:
        """Store a check of a partition that failed, and an empty partition where there is none."""
        name, table = tuple(asset.split("/")), asset.split("/")[-1]
        if not self.lake.path(name, cell_of(keys)).exists():
            self.store(asset, table, filled(table, []), **keys)
        row = {**keys, "asset": asset, "check_name": check, "severity": severity}
        self.lake.write_beside(name, cell_of(keys), "asset_checks", filled("asset_checks", [row]), "planted")
        self.mirror()

    def mirror(self) -> None:
        """Make the warehouse of the lake."""
        warehouse.rebuild(self.home.warehouse, self.lake, [(table, asset) for asset, table in self.assets.items()])

    def _plant(self) -> None:
        codes = [
            {"icd10": code, "label_set": "icd10", "cases": 20, "cases_imaged": 12, "studied": True,
             "description": f"what {code} is called"} for code in CODES
        ]  # fmt: skip
        self.store("icd10_codes", "icd10_codes", filled("icd10_codes", codes))
        for code in CODES:
            self.plant_cases(code, EIDS[:12])
        for organ in ORGANS:
            self._plant_organ(organ)
        self._plant_evidence()
        self._plant_baselines()

    def _plant_baselines(self) -> None:
        """Store what the baselines hit: the code K76 in the whole cohort a gene, nothing else anything."""
        hits = [{"icd10": "K76", "method": "icd10_whole_cohort", "gene": GENE, "gene_id": None, "score": 0.9}]
        for code in CODES:
            of_code = filled("gene_hits", hits if code == "K76" else [])
            self.store("icd10_whole_cohort/gene_hits", "gene_hits", of_code, icd10=code)
            self.store("icd10_imaging_cohort/gene_hits", "gene_hits", filled("gene_hits", []), icd10=code)
        for organ in ORGANS:
            for name in ("organ_volume", "hand_made"):
                self.store(f"{name}/gene_hits", "gene_hits", filled("gene_hits", []), organ=organ)

    def _plant_evidence(self) -> None:
        for organ in ORGANS:
            codes = [code for cell, code in SHOWN if cell == organ]
            whole = {"organ": organ, "method": "icd10_whole_cohort", "genes": 1}
            own = {"encoder": "mae", "organ": organ, "method": "classifier", "genes": 1, "phenotypes": 1}
            rows = [{**row, "icd10": code} for row in (whole, own) for code in codes]
            table = "evidence_hits_by_disease"
            self.store("evidence/hits_by_disease", table, filled(table, rows), organ=organ)

    def plant_cases(self, code: str, eids: list[str]) -> None:
        """Store who has a code."""
        cases = filled("icd10_cases", [{"icd10": code, "eid": eid} for eid in eids])
        self.store("icd10_cases", "icd10_cases", cases, icd10=code)

    def _plant_organ(self, organ: str) -> None:
        scans = [
            {"organ": organ, "eid": eid, "mask": f"{self.cohort}/images/{eid}_mask.nii",
             "images": [f"{self.cohort}/images/sub-0{eid}.nii"], "signature": f"10:{eid}"} for eid in EIDS
        ]  # fmt: skip
        self.store("scans", "scans", filled("scans", scans), organ=organ)
        volumes = [{"eid": eid, "organ": organ, "voxels": 9, "volume_ml": 3.0} for eid in EIDS]
        self.store("organ_volumes", "organ_volumes", filled("organ_volumes", volumes), organ=organ)
        people = [
            {"encoder": "mae", "organ": organ, "eid": eid, "cluster": k % 3, "umap_1": k / 7, "umap_2": k % 5}
            for k, eid in enumerate(EIDS)
        ]
        self.store("mae/clusters", "clusters", filled("clusters", people), organ=organ)
        for code in CODES:
            self._plant_cell(organ, code, selected=(organ, code) in SHOWN)

    def _plant_cell(self, organ: str, code: str, *, selected: bool) -> None:
        keys = {"organ": organ, "icd10": code}
        label = {"encoder": "mae", **keys}
        candidates = [
            {**label, "method": "classifier", "cases": 12, "roc_auc_out_of_fold": 0.7, "p_rank_sum": 1e-4,
             "selected": selected, "reason": "AUC and p" if selected else "AUC below <0.6>"},
            {**label, "method": "clustering", "cluster": 2, "percentage": 30.0, "p_fisher": 1e-3,
             "selected": ("clustering", 2) in phenotypes(organ, code), "reason": "enriched"},
        ]  # fmt: skip
        self.store("mae/phenotype_selection", "phenotype_selection", filled("phenotype_selection", candidates), **keys)
        if not selected:
            return
        seed = ORGANS.index(organ) * 10 + CODES.index(code)
        self.plant_gwas(organ, code, statistics(organ, code, seed))
        scores = [
            {**label, "method": method, "cluster": cluster, "eid": eid, "score": k / 10 + (k < 12)}
            for method, cluster in phenotypes(organ, code)
            for k, eid in enumerate(EIDS)
        ]
        self.store("mae/edp_scores", "edp_scores", filled("edp_scores", scores), **keys)
        hit = {**label, "method": "classifier", "chromosome": "2", "base_pair_location": VARIANT * 1000,
               "neg_log_10_p_value": 12.0, "rsid": f"rs{VARIANT}"}  # fmt: skip
        genes = [{**hit, "gene": GENE, "gene_id": "ENSG1", "score": 0.8, "assigned_by": "variant_to_gene"}]
        self.store("mae/gene_hits", "gene_hits", filled("gene_hits", genes), **keys)
        lead = [{**hit, "locus_start": VARIANT * 1000 - 500, "locus_end": VARIANT * 1000 + 500}]
        self.store("mae/lead_variants", "lead_variants", filled("lead_variants", lead), **keys)

    def plant_gwas(self, organ: str, code: str, rows: pl.DataFrame | Iterable[pl.DataFrame]) -> None:
        """Store the summary statistics of a cell's two phenotypes."""
        notes = [
            {"method": method, "cluster": cluster, "n": 60, "variants": N_VARIANTS, "lambda_gc": 1.02,
             "variants_stored": N_VARIANTS, "stored_max_p": 1.0}
            for method, cluster in phenotypes(organ, code)
        ]  # fmt: skip
        keys = {"organ": organ, "icd10": code}
        self.store("mae/gwas_summary_stats", "gwas_summary_stats", rows, {"phenotypes": notes}, **keys)

    def plant_phewas(self, organ: str, code: str) -> None:
        """Store a PheWAS of a cell's first phenotype: three traits of one effect, one of many, one that is left out."""
        own = {"encoder": "mae", "organ": organ, "icd10": code, "method": "classifier", "category": "blood"}
        tested = {**own, "kind": "continuous", "neg_log_10_p_bonferroni": 2.0}
        traits = [
            {**tested, "trait": f"t{k}", "description": f"trait <{k}>", "beta": 0.1, "neg_log_10_p_value": 4.0 + k}
            for k in range(1, 4)
        ]
        unordered = {**tested, "trait": "t4", "neg_log_10_p_value": 3.0}
        left_out = {**own, "trait": "t5", "kind": "binary", "reason": "too few"}
        rows = filled("phewas", [*traits, unordered, left_out])
        self.store("mae/phewas", "phewas", rows, organ=organ, icd10=code)


def _write_cohort(folder: Path) -> Path:
    folder.mkdir(parents=True)
    organs = "\n".join(f'[organs.{json.dumps(organ, ensure_ascii=False)}]\nchannels = ["fat"]' for organ in ORGANS)
    (folder / "cohort.toml").write_text(
        '[cohort]\nname = "planted <cohort>"\ngenome_build = "GRCh37"\nparticipants = "participants.csv"\n'
        'diagnoses = "diagnoses.csv"\nscans = "scans.csv"\nvariant_to_gene = "variant_to_gene.parquet"\n'
        f'[genotypes]\npath = "genotypes.bed"\n{organs}\n'
    )
    return folder

"""What a run works with: one EDP_HOME, its cohort and settings, its stores; and what makes a stored partition current.

A partition is current when the fingerprint of everything it is made from (code version, settings, cohort files, the
content of the stored inputs) equals the one in its file. Content, not time: a rebuild that changes nothing stops there.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from edp_assets.cohort.config import CHROMOSOMES, Cohort, load_cohort
from edp_assets.cohort.tables import read_participants, read_scans
from edp_assets.settings import Settings
from edp_assets.storage import figure_files
from edp_assets.storage.checkpoints import Checkpoints
from edp_assets.storage.home import Home, HomeError
from edp_assets.storage.lake import Cell, Lake, Provenance
from edp_assets.storage.table_files import Fingerprint

Asset = tuple[str, ...]

CODES: Asset = ("icd10_codes",)
"""The asset whose table says which codes are studied."""


@dataclass(frozen=True)
class StageSpec:
    """What one asset is made from: enough to say whether a stored partition of it is current.

    Attributes:
        inputs: argument -> upstream asset.
        rows: argument -> column: of that input a cell uses the rows that hold its own key, so that others may change.
        settings: what of the settings is used: a section of `Settings`, or one field: `<section>.<field>`, where the
            section `organ` is that of the cell's organ.
        files: what is read of the cohort folder (see `Workspace.files`).
        optional: arguments that are as if they were no input where they have no rows: what is made without them stays
            current when such an input comes into being.
        guarded_by: assets that are no input, but whose failed checks hold this one.
        kept_despite: arguments that it is first made from, and then kept despite: only `retrain` makes it from what
            they have become. Who it was made from is in the table `trained_on`.
        snapshot_of: arguments that it is a snapshot of: what they become later leaves it, and all that is made from it,
            current, until a new one is asked for.
        gathers: it counts what there is: cells above that failed, or are held by a failed check, do not hold it, since
            one code of an organ would hold the table of all.
    """

    asset: Asset
    dimensions: tuple[str, ...]
    table: str
    code_version: str
    inputs: Mapping[str, Asset] = field(default_factory=dict)
    rows: Mapping[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    guarded_by: tuple[Asset, ...] = ()
    kept_despite: tuple[str, ...] = ()
    snapshot_of: tuple[str, ...] = ()
    gathers: bool = False


def trained_on(encoder: Asset) -> Asset:
    """Return the table of whom an encoder was trained on: `mae/trained_on` of `mae/encoder`."""
    return (*encoder[:-1], "trained_on")


@dataclass(frozen=True)
class Workspace:
    """One EDP_HOME with its cohort."""

    home: Home

    @classmethod
    def current(cls) -> Workspace:
        """Return the workspace of $EDP_HOME."""
        return cls(Home.from_environment())

    @cached_property
    def cohort(self) -> Cohort:
        """The cohort that the home belongs to."""
        folder = self.home.cohort_folder()
        if folder is None:
            raise HomeError(f"{self.home.root} belongs to no cohort yet: run `edp run COHORT` (or `edp demo`) first.")
        return load_cohort(folder)

    @property
    def settings(self) -> Settings:
        """The cohort's settings."""
        return self.cohort.settings

    @cached_property
    def chromosomes(self) -> list[str]:
        """The chromosomes that the genotype files hold, in natural order."""
        from edp_assets.science.genetics.genotypes import open_genotypes

        paths = self.cohort.genotype_paths()
        if "all" not in paths:
            return list(paths)
        with open_genotypes(paths["all"]) as genotypes:
            present = set(genotypes.variants["chromosome"])
        return [chromosome for chromosome in CHROMOSOMES if chromosome in present]

    @cached_property
    def lake(self) -> Lake:
        """The Parquet lake."""
        return Lake(self.home.stored("lake"), self.home.scratch)

    @cached_property
    def _figures(self) -> figure_files.FigureFiles:
        return figure_files.figure_files(self.home.warehouse)

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """The trained encoders."""
        return Checkpoints(self.home.stored("checkpoints"), self.home.checkpoints)

    def provenance(self, asset: Asset, cell: Cell) -> Provenance | None:
        """Return what a stored partition was made from, whichever store it lies in; None where it is not stored."""
        return self.lake.provenance(asset, cell) or self.checkpoints.provenance(asset, cell)

    def provenances(self, asset: Asset, cells: Iterable[Cell] | None = None) -> dict[Cell, Provenance]:
        """Return what those of an asset's partitions (by default all) that are stored were made from, read together."""
        found = self.lake.provenances(asset, cells)
        # An asset lies in one store: only where the lake has none of it may it be an encoder.
        if found:
            return found
        wanted = None if cells is None else set(cells)
        there = [cell for cell in self.checkpoints.cells(asset) if wanted is None or cell in wanted]
        encoders = {cell: self.checkpoints.provenance(asset, cell) for cell in there}
        return {cell: provenance for cell, provenance in encoders.items() if provenance is not None}

    def set_aside(self, asset: Asset) -> list[Cell]:
        """Return the cells of an asset that are not stored because their file was damaged and set aside."""
        return self.lake.set_aside(asset) or self.checkpoints.set_aside(asset)

    def stored_cells(self, asset: Asset) -> list[Cell]:
        """Return the stored partitions of an asset."""
        return self.lake.cells(asset) or self.checkpoints.cells(asset)

    def keys(self, dimension: str) -> frozenset[str] | None:
        """Return the partition keys that are in use now; None for the codes before they have been chosen."""
        if dimension == "organ":
            return frozenset(self.settings.organs)
        if dimension == "chromosome":
            return frozenset(self.chromosomes)
        if not self.lake.path(CODES, ()).exists():
            return None
        return frozenset(self.lake.read(CODES, ()).filter("studied")["icd10"])

    def stale_cells(self, spec: StageSpec, cells: Sequence[Cell], *, anew: bool = False) -> dict[Cell, list[str]]:
        """Return those of the cells that are not stored, or not made from what is there now, and what has changed.

        Nor is one current whose figures were deleted.

        Args:
            spec: the asset.
            cells: of it.
            anew: count as current only what is made from what is there now, also where the spec would keep it.
        """
        fingerprints = Fingerprints(self, spec)
        stored = self.provenances(spec.asset, list(cells))
        stale = {}
        figures = self._figures if spec.table in figure_files.TABLES else {}
        for cell in cells:
            provenance, now = stored.get(cell), fingerprints.of(cell)
            if provenance is not None and figure_files.deleted(self.home.root, figures, spec.asset, cell):
                stale[cell] = ["figures that were deleted"]
            elif provenance is None or provenance.inputs != now:
                why = why_stale(provenance, now)
                snapshot = set(why) <= {f"input {name}" for name in spec.snapshot_of}
                kept = spec.kept_despite and provenance and self._is_kept(fingerprints, cell, provenance)
                if anew or not (snapshot or kept):
                    stale[cell] = why
        return stale

    def settings_used(self, spec: StageSpec, cell: Cell) -> dict[str, str]:
        """Return the settings that a partition depends on, by name, as text or as their fingerprint."""
        used = {}
        for name in spec.settings:
            section, _, field = name.partition(".")
            values = (
                self.settings.organs[dict(cell)["organ"]] if section == "organ" else getattr(self.settings, section)
            )
            if field:
                used[name] = json.dumps(getattr(values, field))
            elif values.result_settings():  # of a section without effect nothing is kept: a new one makes nothing stale
                used[name] = values.fingerprint()
        return used

    def changed_settings(self, spec: StageSpec, cell: Cell, stored: Provenance) -> list[str]:
        """Return which of its settings, and whether its code, are others now than when a partition was made.

        What it was made from is not looked at: `stale_cells` does. Of files of earlier versions nothing is known.
        """
        if not stored.parts:
            return []
        now = {"code": spec.code_version}
        now |= {f"settings {name}": _part(value) for name, value in self.settings_used(spec, cell).items()}
        names = {*now, *(name for name in stored.parts if name.startswith("settings "))}
        return sorted(name for name in names if stored.parts.get(name) != now.get(name))

    def _is_kept(self, fingerprints: Fingerprints, cell: Cell, stored: Provenance) -> bool:
        """Return whether a stored encoder is as its recipe and code would make it, whatever it was trained on."""
        spec = fingerprints.spec
        table = trained_on(spec.asset)
        found = self.lake.provenance(table, cell)
        if found is None or found.inputs != fingerprints.of(cell, without=spec.kept_despite):
            return False
        return bool(self.lake.notes(table, cell).get("encoder") == stored.version)

    def files(self, name: str, cell: Cell) -> str:
        """Return the signature (sizes and modification times) of what a stage reads of the cohort folder."""
        organ, chromosome = dict(cell).get("organ"), dict(cell).get("chromosome")
        if name == "images":
            scans = self._scans.filter(organ=organ) if organ else self._scans
            return _hash(scans["signature"].to_list())
        if name == "genotypes":
            paths = self.cohort.genotype_paths()
            chosen = [paths[chromosome]] if chromosome in paths else list(paths.values())
            # A .bed or .pgen is described by the tables beside it, a .bgen by its .sample; a .bgi is an index only.
            beside = [file for path in chosen for file in sorted(path.parent.glob(f"{path.stem}.*"))]
            return _hash([signature(file) for file in beside if file.suffix != ".bgi"])
        if name == "step1_genotypes":
            return self._step1_genotypes()
        path: Path | dict[str, Path] | str | bool | None = getattr(self.cohort, name)
        if isinstance(path, str | bool):  # what cohort.toml itself says
            return str(path)
        if isinstance(path, dict):
            return _hash({key: signature(each) for key, each in path.items()})
        return "absent" if path is None else signature(path)

    def _step1_genotypes(self) -> str:
        """Return the signature of regenie's step 1 file; empty, as if it were not read, under another engine."""
        path = self.cohort.step1_genotypes
        if path is None or self.settings.gwas.engine != "regenie":
            return ""
        return _hash([signature(file) for file in sorted(path.parent.glob(f"{path.stem}.*")) if file.suffix != ".bgi"])

    @cached_property
    def _scans(self) -> pl.DataFrame:
        participants = read_participants(self.cohort).table["eid"]
        return with_signatures(read_scans(self.cohort, set(participants)).table)


class Fingerprints:
    """The fingerprints of one asset's partitions: each input's versions are read once."""

    def __init__(self, workspace: Workspace, spec: StageSpec) -> None:
        self.workspace, self.spec = workspace, spec
        self._keys: dict[str, frozenset[str] | None] = {}
        self._shared: dict[str, set[str]] = defaultdict(set)
        self._inputs = {name: self._versions(name) for name in spec.inputs if name not in spec.rows}
        self._rows = {name: self._rows_by_key(name, column) for name, column in spec.rows.items()}
        self._files: dict[tuple[str, Cell], str] = {}

    def of(self, cell: Cell, without: Collection[str] = ()) -> Fingerprint:
        """Return the fingerprint of what the cell would be made from now, but for the inputs `without`."""
        used = self.workspace.settings_used(self.spec, cell)
        inputs: dict[str, list[Any]] = {}
        for name, by_shared in self._inputs.items():
            found = by_shared.get(restricted(cell, self._shared[name]), [])
            if name not in without and (found or name not in self.spec.optional):
                inputs[name] = found
        for name, by_key in self._rows.items():
            # The dimension of the cell is the key that the column holds.
            inputs[name] = [] if by_key is None else [((), _hash(sorted(by_key.get(cell[0][1], []))))]
        stamps = {name: self._file(name, cell) for name in self.spec.files}
        files = {name: stamp for name, stamp in stamps.items() if stamp}
        parts = {"code": self.spec.code_version}
        for kind, of_kind in (("settings", used), ("input", inputs), ("file", files)):
            parts |= {f"{kind} {name}": _part(value) for name, value in of_kind.items()}
        return Fingerprint(_hash([self.spec.code_version, used, inputs, files]), parts)

    def _versions(self, name: str) -> dict[Cell, list[tuple[Cell, str]]]:
        """Return an input's versions by what its cells share with this asset's; retired keys count as not there."""
        found: dict[Cell, list[tuple[Cell, str]]] = defaultdict(list)
        asset = self.spec.inputs[name]
        for cell, provenance in sorted(self.workspace.provenances(asset).items()):
            self._shared[name] = {d for d, _ in cell} & set(self.spec.dimensions)
            in_use = all(self._in_use(dimension, key) for dimension, key in cell)
            if in_use and (provenance.rows or name not in self.spec.optional):
                found[restricted(cell, self._shared[name])].append((cell, provenance.version))
        return found

    def _in_use(self, dimension: str, key: str) -> bool:
        if dimension not in self._keys:
            self._keys[dimension] = self.workspace.keys(dimension)
        keys = self._keys[dimension]
        return keys is None or key in keys

    def _rows_by_key(self, name: str, column: str) -> dict[Any, list[Any]] | None:
        """Return an input's rows by the key that a column holds; None where it is not stored."""
        asset = self.spec.inputs[name]
        if self.workspace.provenance(asset, ()) is None:
            return None
        parts = self.workspace.lake.read(asset, ()).partition_by(column, as_dict=True)
        return {key: part.rows() for (key,), part in parts.items()}

    def _file(self, name: str, cell: Cell) -> str:
        relevant = restricted(cell, {"organ", "chromosome"})
        if (name, relevant) not in self._files:
            self._files[name, relevant] = self.workspace.files(name, relevant)
        return self._files[name, relevant]


def restricted(cell: Cell, dimensions: Collection[str]) -> Cell:
    """Return the cell's part in these dimensions."""
    return tuple(pair for pair in cell if pair[0] in dimensions)


def why_stale(stored: Provenance | None, now: Fingerprint) -> list[str]:
    """Return what of a partition has changed since it was stored, such as "input icd10_cases" or "code"."""
    if stored is None:
        return ["not made yet"]
    if not stored.parts:
        return ["made by an earlier version, which kept no reasons"]
    names = [*now.parts, *(set(stored.parts) - set(now.parts))]
    return [name for name in names if stored.parts.get(name) != now.parts.get(name)] or ["marked as out of date"]


def signature(path: Path) -> str:
    """Return a file's size and modification time: what tells a replaced file unread (a folder: of all in it)."""
    if path.is_dir():
        return _hash([(file.name, signature(file)) for file in sorted(path.rglob("*")) if file.is_file()])
    try:
        status = path.stat()
    except FileNotFoundError:
        return "missing"
    return f"{status.st_size}:{status.st_mtime_ns}"


def with_signatures(scans: pl.DataFrame) -> pl.DataFrame:
    """Return a table of scans with a column `signature`, which differs when a file of the row is replaced."""
    files = [c for c in scans.columns if c == "mask" or c.startswith("image_")]
    rows = [
        " ".join(signature(Path(file)) for file in row if file is not None) for row in scans.select(files).iter_rows()
    ]
    return scans.with_columns(signature=pl.Series(rows, dtype=pl.String))


def _part(value: object) -> str:
    """Return the hash of one part of a fingerprint."""
    return _hash(value)[:8]


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]

"""From a gene hit back to the scans: the stored partitions that a cell's genes were made from, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from edp_assets.assets.stage import Stage
from edp_assets.report.results import digest
from edp_assets.storage.cells import Cell, Location
from edp_assets.storage.lake import Provenance
from edp_assets.storage.workspace import Asset, Workspace, trained_on

CHAIN = (
    "gene_hits", "gwas_summary_stats", "edp_scores", "phenotype_models", "adjusted_embeddings", "embeddings",
    "encoder", "masked_crops", "scans",
)  # fmt: skip
"""The way from a gene to the scans; what else a step was made from stands beside it."""

SETTINGS = "settings "
"""What `Workspace.changed_settings` calls a section of the settings by."""


@dataclass(frozen=True)
class Step:
    """One stage on the way, with its partitions of the organ and code.

    Attributes:
        name: the asset.
        what: what it holds, the first line of its description.
        main: whether it is on the way from the gene to the scans, or beside it.
        shared: whether it is one table of the whole cohort: any label that changes makes another of some, so that what
            they hold now is told in one place, on the methods page.
        partitions: how many there are.
        rows: in all of them.
        content: hash of what they hold: Dagster's data version.
        inputs: hash of what they were made from (the fingerprint).
        code_version: of the stage, as it is now.
        made: when the last of them was written, UTC.
        file: where it lies, below EDP_HOME or in the object store; of several, the first.
        trained_on: of an encoder, on how many scans it was trained, else None.
        changed: what of its own code, settings and files is another now than when it was made, by name.
        settings: (name, section on the methods page).
        files: what of the cohort folder was read.
        above: the assets it was made from.
    """

    name: str
    what: str
    main: bool
    shared: bool
    partitions: int
    rows: int
    content: str
    inputs: str
    code_version: str
    made: str
    file: str
    trained_on: int | None
    changed: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    files: tuple[str, ...]
    above: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    """The stored partitions of an asset that agree with a cell, sorted, as their own notes tell them.

    `content` and `inputs` are their hash and their fingerprint, of several a hash of theirs; `changed` is as a step's.
    """

    asset: Asset
    there: list[tuple[Cell, Provenance]]
    changed: tuple[str, ...]

    @cached_property
    def content(self) -> str:
        return _together([each.version for _, each in self.there])

    @cached_property
    def inputs(self) -> str:
        return _together([each.inputs for _, each in self.there])


@dataclass
class Lineage:
    """The way back from every cell; what cells share is read once."""

    workspace: Workspace
    stages: Mapping[Asset, Stage]
    _stored: dict[Asset, dict[Cell, Provenance]] = field(default_factory=dict)
    _found: dict[tuple[Asset, Cell], _Found | None] = field(default_factory=dict)
    _steps: dict[tuple[Asset, Cell], Step] = field(default_factory=dict)
    _orders: dict[tuple[Asset, bool], list[Asset]] = field(default_factory=dict)

    def stored(self, asset: Asset) -> dict[Cell, Provenance]:
        """Return the provenance of all stored partitions of an asset."""
        if asset not in self._stored:
            self._stored[asset] = self.workspace.provenances(asset)
        return self._stored[asset]

    def has(self, asset: Asset, organ: str, icd10: str) -> bool:
        """Return whether anything of an asset is stored that is of a cell, or, where it has no such key, of all."""
        return asset in self.stages and self._find(asset, {"organ": organ, "icd10": icd10}) is not None

    def above(self, asset: Asset) -> list[Asset]:
        """Return what an asset is made from, or held by, nearest first."""
        return self._order(asset, guards=True)[1:]

    def other_settings(self, assets: Iterable[Asset], organ: str, icd10: str) -> list[str]:
        """Return which settings are others now than when these assets of a cell, or what is above them, were made."""
        stored = [asset for asset in assets if self.has(asset, organ, icd10)]
        way = dict.fromkeys(each for asset in stored for each in self._order(asset))
        found = [self._find(each, {"organ": organ, "icd10": icd10}) for each in way]
        changed = {name for each in found if each is not None for name in each.changed}
        return sorted(name.removeprefix(SETTINGS) for name in changed if name.startswith(SETTINGS))

    def steps(self, encoder: str, organ: str, icd10: str) -> list[Step]:
        """Return every step from a cell's gene hits back, nearest first; what is not stored (yet) is left out."""
        return [self._step(found) for found in self._way(encoder, organ, icd10)]

    def content(self, encoder: str, organ: str, icd10: str) -> list[Any]:
        """Return what tells whether a cell's lineage, its scores or its statistics have changed.

        Not when they were made: what is made again with the same rows from the same inputs changes no page. So no file
        is looked at for it. Nor when a table of the whole cohort changes where nothing that is made of it does.
        """
        way = [found for found in self._way(encoder, organ, icd10) if found.there[0][0]]
        return [("/".join(found.asset), found.content, found.inputs, found.changed) for found in way]

    def shared(self) -> list[Step]:
        """Return what is stored of the tables of the whole cohort, in the order of the flow."""
        assets = [asset for asset, stage in self.stages.items() if not stage.spec.dimensions and self.stored(asset)]
        return [self._step(found) for asset in assets if (found := self._find(asset, {})) is not None]

    def _way(self, encoder: str, organ: str, icd10: str) -> list[_Found]:
        """Return what is stored of the assets on the way back, nearest first."""
        keys = {"organ": organ, "icd10": icd10}
        for asset in ((encoder, name) for name in CHAIN[:3]):
            if asset in self.stages and self._find(asset, keys) is not None:
                found = [self._find(each, keys) for each in self._order(asset)]
                return [each for each in found if each is not None]
        return []

    def _order(self, start: Asset, *, guards: bool = False) -> list[Asset]:
        """Return an asset and all above it, each after everything that is made from it; with what guards them too."""
        if (start, guards) in self._orders:
            return self._orders[start, guards]
        above, ahead = {start}, [start]
        while ahead:
            spec = self.stages[ahead.pop()].spec
            for each in (*spec.inputs.values(), *(spec.guarded_by if guards else ())):
                if each not in above:
                    above.add(each)
                    ahead.append(each)
        # Stages are defined in the order of the flow.
        found = [asset for asset in reversed(list(self.stages)) if asset in above]
        self._orders[start, guards] = found
        return found

    def _find(self, asset: Asset, keys: Mapping[str, str]) -> _Found | None:
        """Return what is stored of an asset that agrees with the keys; what cells share is put together once."""
        spec = self.stages[asset].spec
        own = tuple((name, keys[name]) for name in spec.dimensions if name in keys)
        if (asset, own) not in self._found:
            stored = self.stored(asset)
            cells = [own] if len(own) == len(spec.dimensions) else [c for c in stored if set(own) <= set(c)]
            there = sorted((cell, stored[cell]) for cell in cells if cell in stored)
            changed = tuple(self.workspace.changed_settings(spec, *there[0])) if there else ()
            self._found[asset, own] = _Found(asset, there, changed) if there else None
        return self._found[asset, own]

    def _step(self, found: _Found) -> Step:
        place = found.asset, found.there[0][0]
        if place not in self._steps:
            self._steps[place] = self._of(found)
        return self._steps[place]

    def _of(self, found: _Found) -> Step:
        asset, stage, cells = found.asset, self.stages[found.asset], [cell for cell, _ in found.there]
        spec, organ = stage.spec, dict(cells[0]).get("organ")
        description = stage.definition.descriptions_by_key.get(stage.definition.key) or ""
        return Step(
            name="/".join(asset),
            what=description.strip().split("\n")[0],
            main=asset[-1] in CHAIN,
            shared=not spec.dimensions,
            partitions=len(cells),
            rows=sum(each.rows for _, each in found.there),
            content=found.content,
            inputs=found.inputs,
            code_version=spec.code_version,
            made=self._made(asset, cells),
            file=self._file(asset, cells[0]),
            trained_on=self._trained_on(asset, cells[0]),
            changed=found.changed,
            settings=tuple((name, settings_anchor(name, organ)) for name in spec.settings),
            files=spec.files,
            above=tuple("/".join(each) for each in spec.inputs.values() if self.stored(each)),
        )

    def _place(self, asset: Asset, cell: Cell) -> Location:
        place = self.workspace.lake.path(asset, cell)
        return place if place.exists() else self.workspace.checkpoints.path(asset, cell)

    def _made(self, asset: Asset, cells: Iterable[Cell]) -> str:
        written = max(float(self._place(asset, cell).stat().st_mtime) for cell in cells)
        return datetime.fromtimestamp(written, UTC).strftime("%Y-%m-%d %H:%M UTC")

    def _file(self, asset: Asset, cell: Cell) -> str:
        place, root = self._place(asset, cell), self.workspace.home.root
        return str(place.relative_to(root)) if isinstance(place, Path) else str(place)

    def _trained_on(self, asset: Asset, cell: Cell) -> int | None:
        if not self.stages[asset].spec.kept_despite:
            return None
        found = self.workspace.lake.provenance(trained_on(asset), cell)
        return None if found is None else found.rows


def settings_anchor(name: str, organ: str | None) -> str:
    """Return the part of the methods page that has a setting of a stage."""
    section = name.partition(".")[0]
    return f"settings-organs-{organ}" if section == "organ" else f"settings-{section}"


def _together(hashes: list[str]) -> str:
    return hashes[0] if len(hashes) == 1 else digest(hashes)

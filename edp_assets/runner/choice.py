"""What of the graph a run is asked for: its stages in order, and the cells of each."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from edp_assets.assets.stage import REGISTRY, Stage
from edp_assets.graph import graph
from edp_assets.partitions import DIMENSIONS
from edp_assets.storage.lake import Cell, cell_of
from edp_assets.storage.workspace import Workspace

OF_NAMED_CODES = {"few_shot": "[few_shot] codes", "adjustment": "[evidence] unadjusted_codes"}
"""Groups whose stages are made for a few codes alone, and what of the settings names these."""


@dataclass(frozen=True)
class Choice:
    """What of the graph to run: organs, codes and encoders (empty: all), and a Dagster asset selection.

    With `retrain`, encoders are trained anew whose scans are no longer those that they were trained on; with `phenome`
    a new snapshot is taken of the phenome, where diagnoses are others than in the one that there is.
    """

    organs: tuple[str, ...] = ()
    icd10: tuple[str, ...] = ()
    encoders: tuple[str, ...] = ()
    select: str | None = None
    retrain: bool = False
    phenome: bool = False


def chosen_stages(choice: Choice, used: Sequence[str]) -> list[Stage]:
    """Return the stages of a run in order; `used` are the cohort's encoders, where the choice names none."""
    known = {stage.spec.asset[0] for stage in REGISTRY.values() if stage.group == "encoders"}
    unknown = sorted(set(choice.encoders) - known)
    if unknown:
        raise ValueError(f"--encoder {unknown[0]}: the encoders are {', '.join(sorted(known))}")
    stages = list(REGISTRY.values())
    encoders = choice.encoders or tuple(used)
    stages = [s for s in stages if s.spec.asset[0] not in known or s.spec.asset[0] in encoders]
    if choice.select is not None:
        try:
            keys = dg.AssetSelection.from_string(choice.select).resolve(graph.resolve_asset_graph())
        except Exception as error:
            raise ValueError(f"--select {choice.select!r} is not an asset selection: {error}") from None
        if not keys:
            raise ValueError(
                f"--select {choice.select!r} matches no asset; assets: {', '.join(map('/'.join, REGISTRY))}"
            )
        stages = [s for s in stages if dg.AssetKey(list(s.spec.asset)) in keys]
    return stages


class Dimensions:
    """The partition keys of a run, in the order that Dagster's ranges follow."""

    def __init__(self, workspace: Workspace, instance: dg.DagsterInstance, choice: Choice) -> None:
        self.workspace, self.instance, self.choice = workspace, instance, choice
        organs = sorted(workspace.settings.organs)
        unknown = sorted(set(choice.organs) - set(organs))
        if unknown:
            raise ValueError(f"--organ {unknown[0]}: the cohort's organs are {', '.join(organs)}")
        self.keys: dict[str, list[str]] = {"organ": organs, "chromosome": workspace.chromosomes, "icd10": []}
        for name in ("organ", "chromosome"):
            self._tell(name)
        self.add_codes()

    def add_codes(self) -> None:
        """Add the studied codes as partitions, once the stage that chooses them has run."""
        studied = self.workspace.keys("icd10")
        if studied is None:
            return
        codes = sorted(studied)
        unknown = sorted(set(self.choice.icd10) - set(codes))
        if unknown:
            raise ValueError(f"--icd10 {unknown[0]} is not studied in this cohort; studied: {', '.join(codes)}")
        for where, named in self.workspace.settings.named_codes.items():
            if unknown := sorted(set(named) - set(codes)):
                raise ValueError(f"{where}: {unknown[0]} is not studied in this cohort; studied: {', '.join(codes)}")
        self.keys["icd10"] = codes
        self._tell("icd10")

    def _tell(self, name: str) -> None:
        """Tell Dagster the keys in use; retired ones are partitions no more, what is stored of them stays."""
        self.instance.add_dynamic_partitions(name, self.keys[name])
        for key in set(self.instance.get_dynamic_partitions(name)) - set(self.keys[name]):
            self.instance.delete_dynamic_partition(name, key)

    def require_codes(self, stages: Sequence[Stage]) -> None:
        """Raise ValueError where stages are of codes, which neither an earlier run has chosen nor this one will."""
        of_codes = [stage for stage in stages if "icd10" in stage.spec.dimensions]
        if of_codes and not self.keys["icd10"] and ("icd10_codes",) not in {stage.spec.asset for stage in stages}:
            also = f"({self.choice.select}) or +key:icd10_codes"
            raise ValueError(
                f"{'/'.join(of_codes[0].spec.asset)} is made for each ICD-10 code, and which codes the cohort has is "
                "not known yet: the asset icd10_codes has not been made, and the selection lacks it. Select it as "
                f"well: --select {shlex.quote(also)}"
            )

    def cells(self, stage: Stage) -> list[Cell]:
        """Return the chosen cells of a stage; those of some groups are for the codes that the settings name."""
        wanted = {"organ": self.choice.organs, "icd10": self.choice.icd10}
        found: list[dict[str, str]] = [{}]
        for name in stage.spec.dimensions:
            keys = list(wanted.get(name) or self.keys[name])
            if name == "icd10" and stage.group in OF_NAMED_CODES:
                named = self.workspace.settings.named_codes[OF_NAMED_CODES[stage.group]]
                keys = [key for key in keys if key in named]
            found = [{**cell, name: key} for cell in found for key in keys]
        return [cell_of(cell) for cell in found]


def key_order(instance: dg.DagsterInstance) -> dict[str, list[str]]:
    """Return the keys of each dimension in the order in which Dagster counts a range."""
    return {name: list(instance.get_dynamic_partitions(name)) for name in DIMENSIONS}


def reasons(stale: Mapping[Cell, Sequence[str]]) -> str:
    """Return why cells are made, the commonest reason first: " (input icd10_cases; file genotypes of 3)"."""
    counts = Counter(reason for of_cell in stale.values() for reason in of_cell)
    if set(counts) == {"not made yet"}:
        return ""
    told = [reason if n == len(stale) else f"{reason} of {n}" for reason, n in counts.most_common(4)]
    return f" ({'; '.join(told)}{'; ...' if len(counts) > 4 else ''})"


def describe(cells: Sequence[Cell]) -> str:
    """Return what the cells are, shortly: "liver, heart x 10 icd10"."""
    parts = []
    for i, (name, _) in enumerate(cells[0]):
        keys = list(dict.fromkeys(cell[i][1] for cell in cells))
        parts.append(
            ", ".join(keys) if len(keys) <= 3 else f"{len(keys)} {name}s" if name != "icd10" else f"{len(keys)} codes"
        )
    return " x ".join(parts)

"""The checks of labels against what they were: each label's prevalence, all of them together, and labels that vanish.

A broken export would otherwise rebuild all that stands on labels. What a label was is remembered with the last verdict
that passed, was accepted, or was of severity warn; what there is now is compared with that until it passes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from edp_assets.assets import cohort
from edp_assets.checks.findings import rows_of
from edp_assets.checks.gates import register
from edp_assets.cohort.label_sets import label_set
from edp_assets.science.findings import Finding
from edp_assets.science.phenotypes.prevalence import prevalence_jump
from edp_assets.settings import LabelPrevalenceCheck
from edp_assets.storage.lake import Cell
from edp_assets.storage.upstream import Partition
from edp_assets.storage.verdicts import Verdict
from edp_assets.storage.workspace import StageSpec, Workspace

NAME = "label_prevalence"
PREVALENCE = "The label's prevalence against what it was: a jump by more than max_ratio holds what stands on the label."
TOGETHER = "All labels against what they were: how many vanished, and how many cases there are, of each label set."

_EXPORT = (
    "look at the export of diagnoses (or of scans): what is held keeps its results; if it is broken, mend it and run "
    "again; "
)


def of_label(spec: StageSpec, workspace: Workspace, cell: Cell, remembered: Mapping[str, Any]) -> Verdict:
    """Return what is found of one label's cases, held against what was remembered of it."""
    limits, label = workspace.settings.checks.label_prevalence, dict(cell)["icd10"]
    now = {"cases": Partition(workspace.lake, spec.asset, cell).rows, "people": _people(workspace)}
    if not remembered:
        told = f"{now['cases']} cases of {now['people']} people; nothing to compare with yet"
        finding = Finding(NAME, "prevalence", limits.severity, True, 1, limits.max_ratio, told)
        return Verdict(rows_of(spec, cell, [finding]), now)
    jump = prevalence_jump(remembered["cases"], remembered["people"], now["cases"], now["people"])
    accepted = limits.accept.get(label) == now["cases"]
    passed = accepted or not jump.beyond(limits.max_ratio, limits.min_sigma)
    told = (
        f"{now['cases']} cases of {now['people']} people, before {remembered['cases']} of {remembered['people']}: "
        f"{jump.ratio:.2f}-fold{' (accepted)' if accepted else ''}; at most {limits.max_ratio:g}-fold, or "
        f"{limits.min_sigma:g} standard errors"
    )
    remedy = f"{_EXPORT}if it is right, add to [checks.{NAME}.accept]: {json.dumps(label)} = {now['cases']}"
    finding = Finding(NAME, "prevalence", limits.severity, passed, jump.ratio, limits.max_ratio, told, remedy)
    return Verdict(rows_of(spec, cell, [finding]), _next([finding], now, remembered))


def of_all(spec: StageSpec, workspace: Workspace, cell: Cell, remembered: Mapping[str, Any]) -> Verdict:
    """Return what is found of all studied labels together, a label set each; other [labels] are nothing to compare."""
    limits = workspace.settings.checks.label_prevalence
    studied = Partition(workspace.lake, spec.asset, cell).columns("icd10", "cases", "studied").filter("studied")
    chosen = workspace.settings.labels.fingerprint()
    now = {"labels": dict(studied.select("icd10", "cases").iter_rows()), "people": _people(workspace), "chosen": chosen}
    before = remembered if remembered.get("chosen") == chosen else {}
    findings = list(_together(limits, before, now)) if before else []
    if not findings:
        told = f"{studied.height} labels are studied; nothing to compare with yet"
        findings = [Finding(NAME, "vanished", limits.severity, True, 0, limits.max_vanished, told)]
    return Verdict(rows_of(spec, cell, findings), _next(findings, now, before))


def _together(limits: LabelPrevalenceCheck, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Finding]:
    remedy = f"{_EXPORT}if it is right, set [checks.{NAME}] severity = 'warn' for one run, or raise {{name}}"
    for name in sorted({label_set(label) for label in before["labels"]}):
        labels = [label for label in before["labels"] if label_set(label) == name]
        gone = [label for label in labels if label not in now["labels"]]
        share = len(gone) / len(labels)
        told = f"{name}: {len(gone)} of {len(labels)} studied labels have too few cases now; at most "
        told += f"{100 * limits.max_vanished:g}%{': ' + ', '.join(gone[:10]) if gone else ''}"
        passed = share <= limits.max_vanished
        yield Finding(
            NAME, f"vanished of {name}", limits.severity, passed, share, limits.max_vanished, told,
            remedy.format(name="max_vanished"),
        )  # fmt: skip
        both = [label for label in labels if label in now["labels"]]
        was, are = (sum(each["labels"][label] for label in both) for each in (before, now))
        jump = prevalence_jump(was, before["people"], are, now["people"])
        told = f"{name}: {are} cases of {len(both)} labels together, before {was}: {jump.ratio:.2f}-fold; at most "
        told += f"{limits.max_total_ratio:g}-fold"
        yield Finding(
            NAME, f"cases of {name}", limits.severity, not jump.beyond(limits.max_total_ratio, limits.min_sigma),
            jump.ratio, limits.max_total_ratio, told, remedy.format(name="max_total_ratio"),
        )  # fmt: skip


def _next(findings: list[Finding], now: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be remembered: what there is now, unless it is held."""
    held = any(not finding.passed and finding.severity == "error" for finding in findings)
    return dict(before) if held else now


def _people(workspace: Workspace) -> int:
    return Partition(workspace.lake, cohort.participants.spec.asset, ()).rows


def _fingerprint(workspace: Workspace) -> str:
    return f"1 {workspace.settings.checks.fingerprint(NAME)}"


register(cohort.icd10_cases.spec, {NAME: PREVALENCE}, of_label, _fingerprint)
register(cohort.icd10_codes.spec, {NAME: TOGETHER}, of_all, _fingerprint)

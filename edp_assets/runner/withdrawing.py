"""Withdrawals in a run: carried out before it, and told. How is in `storage.withdrawal`."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg

from edp_assets.assets.stage import REGISTRY
from edp_assets.runner.choice import Choice, Dimensions, chosen_stages
from edp_assets.storage import trained_on, withdrawal
from edp_assets.storage.lake import Cell
from edp_assets.storage.workspace import Asset, Workspace

Say = Callable[[str], None]


class Withdrawing:
    """The withdrawals of one run, which holds the writer lock."""

    def __init__(self, workspace: Workspace, instance: dg.DagsterInstance, choice: Choice, say: Say) -> None:
        """Carry out the cohort's list, where it is not the one carried out last."""
        self.workspace, self._instance, self._choice, self._say = workspace, instance, choice, say
        # Before crops change: whom an encoder of an earlier version was trained on is told by these alone.
        trained_on.adopt(workspace, (stage.spec for stage in REGISTRY.values()))
        self._carried_out = withdrawal.carry_out(workspace, self._made, tables())
        if self._carried_out is not None and self._carried_out.newly:
            say(f"withdrawals: {_told(self._carried_out)}")

    def remove_retired(self) -> None:
        """Remove what was made of codes that are studied no more, if it may count people who withdrew."""
        removed = withdrawal.remove_retired(self.workspace, self._made, tables())
        if removed:
            self._say(f"withdrawals: {removed} partitions of codes no longer studied removed, as they counted people")

    def tell_proof(self, clean: bool) -> None:
        """Say that nobody is left where this run took people out and the check, which looks, found nobody."""
        off = self.workspace.settings.checks.withdrawn_people.severity == "off"
        if self._carried_out is not None and self._carried_out.newly and clean and not off:
            self._say("withdrawals: every file looked through, nobody who withdrew found")

    def _made(self) -> dict[Asset, list[Cell]]:
        """Return every partition that runs on this cohort make, and this run."""
        settings = self.workspace.settings
        encoders = tuple({*settings.encoders, *self._choice.encoders})
        dimensions = Dimensions(self.workspace, self._instance, Choice())
        return {
            stage.spec.asset: dimensions.cells(stage) for stage in chosen_stages(Choice(encoders=encoders), encoders)
        }


def tables() -> list[tuple[str, Asset]]:
    """Return what the warehouse is made from: the table and asset of every stage, and the withdrawals."""
    return [*((s.spec.table, s.spec.asset) for s in REGISTRY.values()), (withdrawal.ASSET[0], withdrawal.ASSET)]


def withdrawal_lines(workspace: Workspace) -> list[str]:
    """Return a run's last words on withdrawals: when they were carried out, which encoders learned from whom."""
    rows = withdrawal.withdrawals(workspace)
    if not rows:
        return []
    lines = [f"withdrawals: {_told(rows[-1])}"]
    found = list(trained_on.trainings(workspace, (stage.spec for stage in REGISTRY.values())))
    learned = [each for each in found if each.withdrawn]
    if learned:
        told = ", ".join(f"{each.name} {each.organ} ({each.withdrawn} of {each.scans})" for each in learned)
        which = learned[0].retrain if len(learned) == 1 else "--retrain"
        lines.append(f"trained with people who withdrew since: {told}")
        lines.append(f"    `edp refresh {workspace.home.cohort_folder()} {which}` trains anew without them")
    unknown = [f"{each.name} {each.organ}" for each in found if each.scans is None]
    if unknown:
        lines.append(f"trained before it was recorded with whom, so unknown: {', '.join(unknown)}")
    return lines


def _told(row: withdrawal.Withdrawal) -> str:
    text = f"{row.on_list} on the list, carried out {row.carried_out}"
    if not row.newly:
        return f"{text}: none of them was in what is stored"
    counts = {
        "files rewritten": row.files_rewritten,
        "partitions no longer made removed": row.partitions_removed,
        "figures removed": row.figures_removed,
    }
    return f"{text}: {row.newly} taken out, {', '.join(f'{n} {what}' for what, n in counts.items())}"

"""What to run again: the narrowest choice that makes the partitions that failed, and what stands below them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edp_assets.assets.stage import REGISTRY
from edp_assets.runner.choice import Choice
from edp_assets.runner.holding import Holding
from edp_assets.storage.workspace import Asset


def retry(choice: Choice, holding: Holding, keys: Mapping[str, Sequence[str]]) -> Choice | None:
    """Return the narrowest choice within a run's own that covers what failed and what stands below; None: none failed.

    Partitions that failed are not current, so that the run's own choice would make them too.

    Args:
        choice: the run's.
        holding: what failed in it.
        keys: the cohort's organs and codes.
    """
    below = holding.below_failed()
    if not below:
        return None
    every = holding.failed()
    failed = {each.asset for each in every}
    # An asset below another one that failed is in that one's selection.
    first = [asset for asset in REGISTRY if asset in failed and not _above(asset) & failed]
    select = " or ".join(f'key:"{"/".join(asset)}"+' for asset in first)
    if choice.select:
        select = f"({choice.select}) and ({select})"
    # What one is made from was not chosen, and is not there: without it the same would fail again.
    lacking = {each.asset for each in every if each.reason.missing}
    above = [f'+key:"{"/".join(asset)}"' for asset in first if asset in lacking]
    return replace(
        choice,
        organs=_narrowest("organ", below, keys["organ"]),
        icd10=_narrowest("icd10", below, keys["icd10"]),
        select=" or ".join([*above, f"({select})" if above else select]),
    )


def command(cohort: Path, choice: Choice) -> str:
    """Return the command line of a choice, quoted for a shell."""
    words = ["edp", "run", str(cohort)]
    for option, values in (("--organ", choice.organs), ("--icd10", choice.icd10), ("--encoder", choice.encoders)):
        for value in values:
            words += [option, value]
    return shlex.join([*words, *(["--select", choice.select] if choice.select else [])])


def _narrowest(
    name: str, below: Mapping[Asset, Sequence[tuple[tuple[str, str], ...]]], known: Sequence[str]
) -> tuple[str, ...]:
    """Return the keys of a dimension that the cells have; none where they have all that are known, or none."""
    found = {dict(cell)[name] for cells in below.values() for cell in cells if name in dict(cell)}
    return () if found >= set(known) else tuple(sorted(found))


def _above(asset: Asset) -> set[Asset]:
    found: set[Asset] = set()
    ahead = list(REGISTRY[asset].spec.inputs.values())
    while ahead:
        if (above := ahead.pop()) not in found:
            found.add(above)
            ahead += REGISTRY[above].spec.inputs.values()
    return found

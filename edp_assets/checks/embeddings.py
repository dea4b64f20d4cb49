"""The check of embeddings, of every encoder: whether they tell scans apart at all.

What is measured is in `science/encoders/quality.py`; how good they are is the asset `evidence/encoder_quality`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edp_assets.assets.encoders import LEARNED, matrix
from edp_assets.checks.findings import rows_of
from edp_assets.checks.gates import register
from edp_assets.science.findings import Finding
from edp_assets.storage.lake import Cell
from edp_assets.storage.upstream import Partition
from edp_assets.storage.verdicts import Verdict
from edp_assets.storage.workspace import StageSpec, Workspace

NAME = "embedding_collapse"
CHECKS = {NAME: "Embeddings that are no numbers, the same in all scans, or in next to no dimensions."}

_BATCH = 8192


def evaluate(spec: StageSpec, workspace: Workspace, cell: Cell, _: Mapping[str, Any]) -> Verdict:
    """Return what is found of one organ's embeddings; of fewer than two scans nothing can be told."""
    from edp_assets.science.encoders.quality import spread

    limits = workspace.settings.checks.embedding_collapse
    batches = Partition(workspace.lake, spec.asset, cell).stream(["z"], _BATCH)
    found = spread(matrix(frame) for frame in batches)
    remedy = (
        f"look at the training loss and reconstructions of {spec.asset[0]}/encoder, and at [encoders.{spec.asset[0]}] "
        "(learning rate, epochs, masking); or change [checks.embedding_collapse] {name}"
    )
    severity = limits.severity
    findings = [
        Finding(
            NAME, "not_finite", severity, not found.not_finite, found.not_finite, 0,
            f"{found.not_finite} values of {found.participants} scans are no number; none may be",
            f"delete {workspace.lake.path(spec.asset, cell)} and run again; if it stays so, train the encoder anew",
        )
    ]  # fmt: skip
    if not found.not_finite and found.participants > 1:
        constant = found.constant / found.dimensions
        findings += [
            Finding(
                NAME, "constant_dimensions", severity, constant <= limits.max_constant_dimensions, constant,
                limits.max_constant_dimensions,
                f"{found.constant} of {found.dimensions} dimensions are the same in all {found.participants} scans",
                remedy.format(name="max_constant_dimensions"),
            ),
            Finding(
                NAME, "effective_rank", severity, found.effective_rank >= limits.min_effective_rank,
                found.effective_rank, limits.min_effective_rank,
                f"{found.effective_rank:.1f} of {found.dimensions} dimensions are in use; at least "
                f"{limits.min_effective_rank:g}",
                remedy.format(name="min_effective_rank"),
            ),
            Finding(
                NAME, "cosine_similarity", severity, found.cosine_similarity <= limits.max_cosine_similarity,
                found.cosine_similarity, limits.max_cosine_similarity,
                f"mean cosine similarity of two scans is 1 - {1 - found.cosine_similarity:.2g}; at most 1 - "
                f"{1 - limits.max_cosine_similarity:.2g}",
                remedy.format(name="max_cosine_similarity"),
            ),
        ]  # fmt: skip
    return Verdict(rows_of(spec, cell, findings))


def _fingerprint(workspace: Workspace) -> str:
    return f"1 {workspace.settings.checks.fingerprint(NAME)}"


for _stages in LEARNED.values():
    register(_stages.embeddings.spec, CHECKS, evaluate, _fingerprint)

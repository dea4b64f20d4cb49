"""What any check found, in the words that the table `asset_checks` stores."""

from __future__ import annotations

from dataclasses import dataclass

from edp_assets.settings import Severity


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: columns of `asset_checks`.

    Attributes:
        check_name: lambda_gc, schema, ...
        measure: what was measured.
        severity: error, warn, off.
        passed: whether the value keeps to the threshold.
        value: what was found.
        threshold: what is allowed.
        description: what was found, and against what, in words.
        remedy: what to do where it failed.
    """

    check_name: str
    measure: str
    severity: Severity
    passed: bool
    value: float
    threshold: float
    description: str
    remedy: str = ""

"""What every group of settings is: frozen, refusing unknown names, with a fingerprint of what a result depends on."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen group of settings that refuses unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    without_effect: ClassVar[frozenset[str]] = frozenset()
    """Fields that decide how a result is come by, not what it is."""

    def result_settings(self) -> dict[str, Any]:
        """Return the values that a result depends on, as plain ones."""
        return self.model_dump(mode="json", exclude=set(self.without_effect))

    def fingerprint(self, *fields: str) -> str:
        """Return a short hash of the values that matter, or of these fields': what was built under others is stale."""
        values = self.result_settings()
        text = json.dumps({name: values[name] for name in fields or values}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

"""What starts runs by itself: the sensor that watches the cohort's files, and the schedules. Off until asked for."""

from __future__ import annotations

import zoneinfo

from pydantic import Field, field_validator

from edp_assets.settings.section import Section

NIGHTLY, WEEKLY = "0 2 * * *", "0 4 * * 0"
"""When the schedules run where they are switched on in the UI and cohort.toml gives no time."""

_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_CRON = f'a cron line of five fields, such as "{NIGHTLY}" (2 o\'clock every night), or "off"'


class AutomationSettings(Section):
    """What starts runs by itself (our choice); without effect on any result.

    These are the defaults of the code location: who switches a sensor or a schedule in Dagster's UI overrules them.
    """

    watch: bool = Field(False, description="refresh when a file of the cohort changes (sensor cohort_changes)")
    watch_seconds: int = Field(30, ge=5, description="seconds between two looks at the files; a change must be quiet "
                               "for one of these intervals before it is refreshed")  # fmt: skip
    nightly: str = Field("off", description=f"time of the refresh that compares everything: {_CRON}")
    weekly: str = Field("off", description=f"time of the check of all stored files: {_CRON}")
    timezone: str = Field("UTC", description="of the schedules, as the IANA database names it: Europe/London")

    @field_validator("nightly", "weekly")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        fields = value.split()
        if value != "off" and (
            len(fields) != 5 or not all(_matches(text, *field) for text, field in zip(fields, _FIELDS, strict=True))
        ):
            raise ValueError(f"wanted {_CRON}: minute, hour, day of the month, month, day of the week, as numbers")
        return value

    @field_validator("timezone")
    @classmethod
    def _is_timezone(cls, value: str) -> str:
        try:
            zoneinfo.ZoneInfo(value)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("wanted a time zone of the IANA database, such as Europe/London") from None
        return value


def _matches(text: str, low: int, high: int) -> bool:
    """Return whether a text is a field of a cron line: *, numbers, ranges, steps, and lists of these."""
    for part in text.split(","):
        span, _, step = part.partition("/")
        if "/" in part and not (step.isdecimal() and int(step) > 0):
            return False
        if span == "*":
            continue
        first, dash, last = span.partition("-")
        ends = [first, last] if dash else [first]
        if not all(end.isdecimal() and low <= int(end) <= high for end in ends) or int(ends[0]) > int(ends[-1]):
            return False
    return True

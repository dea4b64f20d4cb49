"""The methods page: every setting with its default and source, the versions of the code, the stages in their order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import polars as pl

from edp_assets.report import meanings as mean
from edp_assets.report.html import table
from edp_assets.report.names import METHODS
from edp_assets.report.site import Page
from edp_assets.report.sources import Sources
from edp_assets.settings import ORGANS, Section, Settings

LIBRARIES = (
    "edp_assets", "dagster", "duckdb", "polars", "numpy", "scipy", "torch", "timm", "scanpy", "leidenalg",
    "scikit-learn", "imbalanced-learn", "bokeh",
)  # fmt: skip


def methods(sources: Sources) -> Page:
    """Return the page of how results were made."""
    settings = sources.settings
    found = [
        sources.head,
        settings.model_dump_json(),
        _stages(sources).rows(),
        _content(sources),
        _libraries().rows(),
    ]
    return Page(METHODS, found, lambda: _render(sources))


def _render(sources: Sources) -> str:
    settings, cohort = sources.settings, sources.workspace.cohort
    sections = [
        (f"settings-{key}", key, table(_rows(section, default), f"[{key.replace('-', '.')}]", meanings=mean.SETTINGS))
        for key, section, default in _sections(settings)
    ]
    return sources.page(
        "methods.html.j2",
        METHODS,
        "Methods",
        cohort=cohort.name,
        build=cohort.genome_build,
        encoders=settings.encoders,
        sections=sections,
        stages=table(_stages(sources), "Stages, in the order of the flow", meanings=mean.STAGES),
        shared=table(
            _shared(sources),
            "Tables of the whole cohort, of which every organ and code has its part",
            meanings=mean.SHARED,
        ),
        libraries=table(_libraries(), "Versions that made this report", meanings=mean.LIBRARIES),
    )


def _sections(settings: Settings) -> Iterator[tuple[str, Section, Section | None]]:
    """Yield each section by name, with its defaults; of an organ those of the built-in table, where it is in it."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Section):
            yield name, value, type(value)() if _has_defaults(type(value)) else None
    for organ, of_organ in settings.organs.items():
        yield f"organs-{organ}", of_organ, ORGANS.get(organ)


def _has_defaults(section: type[Section]) -> bool:
    return not any(field.is_required() for field in section.model_fields.values())


def _rows(section: Section, default: Section | None) -> pl.DataFrame:
    """Return setting, value, default, meaning of a section, those of sections within it by dotted names."""
    names = ("setting", "value", "default", "meaning")
    return pl.DataFrame(list(_flat(section, default, "")), schema=dict.fromkeys(names, pl.String), orient="row")


def _flat(section: Section, default: Section | None, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in type(section).model_fields.items():
        value, usual = getattr(section, name), getattr(default, name, None) if default is not None else None
        if isinstance(value, Section):
            yield from _flat(value, usual if isinstance(usual, Section) else None, f"{prefix}{name}.")
        elif isinstance(value, dict) and value and all(isinstance(each, Section) for each in value.values()):
            for key, each in value.items():
                yield from _flat(each, None, f"{prefix}{name}.{key}.")
        else:
            told = _said(usual) if default is not None else ""
            yield prefix + name, _said(value), told, field.description or ""


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=list, ensure_ascii=False)


def _stages(sources: Sources) -> pl.DataFrame:
    """Return every stage of which anything is stored: what it holds, its code version, what it is made from."""
    rows = [
        (
            "/".join(asset),
            (stage.definition.descriptions_by_key.get(stage.definition.key) or "").split("\n")[0],
            " x ".join(stage.spec.dimensions),
            stage.spec.code_version,
            ", ".join("/".join(above) for above in stage.spec.inputs.values()),
            ", ".join(stage.spec.settings),
        )
        for asset, stage in sources.lineage.stages.items()
        if sources.lineage.stored(asset)
    ]
    names = ("asset", "holds", "partitions", "code_version", "made_from", "settings")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def _content(sources: Sources) -> list[tuple[str, str, str]]:
    """Return what tells whether a table of the whole cohort is another one."""
    return [(step.name, step.content, step.inputs) for step in sources.lineage.shared()]


def _shared(sources: Sources) -> pl.DataFrame:
    """Return where the tables of the whole cohort lie, when they were made, and what of."""
    rows = [
        (step.name, step.rows, step.made, step.file, step.content[:16], step.inputs[:16], ", ".join(step.changed))
        for step in sources.lineage.shared()
    ]
    names = ("asset", "rows", "made", "file", "content", "inputs", "now_other")
    schema = dict.fromkeys(names, pl.String) | {"rows": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _libraries() -> pl.DataFrame:
    return pl.DataFrame({"library": LIBRARIES, "version": [version(name) for name in LIBRARIES]})

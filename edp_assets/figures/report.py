"""The static report: the closing tables as one page that opens without a network. Single phenotypes: the UI."""

from __future__ import annotations

from html import escape
from pathlib import Path

import polars as pl

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 0.5rem 0 2rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.8rem; border-bottom: 1px solid #8884; text-align: left; }
th { border-bottom-width: 2px; } td.number, th.number { text-align: right; }
"""

_MEANINGS = (
    "Genes with a variant at genome-wide significance. Whole cohort and imaging cohort: the code itself as a binary "
    "trait. Classifier, clustering, island: embedding-derived phenotypes on the imaging cohort."
)


def write_report(
    folder: Path,
    hits: pl.DataFrame,
    loci: pl.DataFrame,
    organs: pl.DataFrame,
    quality: pl.DataFrame,
    excluded: pl.DataFrame,
) -> Path:
    """Write `index.html` with the closing tables and return its path."""
    body = [
        "<h1>Gene hits of embedding-derived phenotypes</h1>",
        f"<p>{escape(_MEANINGS)}</p>",
        "<h2>By disease and organ</h2>" + _table(hits),
        "<h2>Loci by disease and organ</h2>" + _table(loci),
        "<h2>By organ</h2>" + _table(organs),
        "<h2>What embeddings hold</h2>" + _table(quality),
        "<h2>Left out</h2>" + (_table(excluded) if excluded.height else "<p>Nobody.</p>"),
    ]
    page = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>edp_assets report</title>"
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>"
    )
    folder.mkdir(parents=True, exist_ok=True)
    temporary, path = folder / ".index.html.tmp", folder / "index.html"
    try:
        temporary.write_text(page)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _table(frame: pl.DataFrame) -> str:
    kinds = [" class='number'" if dtype.is_numeric() else "" for dtype in frame.dtypes]
    names = [escape(name.replace("_", " ")) for name in frame.columns]
    head = "".join(f"<th{kind}>{name}</th>" for name, kind in zip(names, kinds, strict=True))
    rows = (
        "<tr>" + "".join(f"<td{kind}>{_cell(value)}</td>" for value, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in frame.iter_rows()
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))

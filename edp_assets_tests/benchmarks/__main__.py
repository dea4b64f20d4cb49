"""`make bench`: every benchmark against its peer in one run, as a table and as $EDP_HOME/bench.json."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from edp_assets.storage.home import Home, replace_text
from edp_assets_tests.benchmarks import (
    ancestry,
    classifier,
    clustering,
    crops,
    embedding,
    gwas,
    mae_training,
    phewas,
    projection,
)
from edp_assets_tests.benchmarks.result import Result


def main() -> None:
    """Run all benchmarks; a peer that is not installed is named, and its benchmark left out."""
    results: list[Result] = []
    for module in (classifier, clustering, crops, embedding, gwas, mae_training, projection, ancestry, phewas):
        results += module.run()
    table = Table(
        "benchmark", "figure", "peer", "peer's figure", "ratio", "note", title="Benchmarks", title_justify="left"
    )
    for r in results:
        table.add_row(
            r.name, f"{r.figure:.2f} {r.unit}", r.peer, f"{r.peer_figure:.2f} {r.unit}", f"{r.ratio:.2f}", r.note
        )
    Console(width=150).print(table)
    home = Home.from_environment()
    home.root.mkdir(parents=True, exist_ok=True)
    replace_text(home.root / "bench.json", json.dumps([asdict(r) for r in results], indent=2))
    print(f"written to {home.root / 'bench.json'}")


if __name__ == "__main__":
    main()

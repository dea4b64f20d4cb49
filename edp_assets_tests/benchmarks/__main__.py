"""`make bench`: every benchmark against its peer in one run, as a table and as $EDP_HOME/bench.json.

python -m edp_assets_tests.benchmarks [phewas ...]        # some of them alone
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
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

MODULES = (classifier, clustering, crops, embedding, gwas, mae_training, projection, ancestry, phewas)
BENCHMARKS: dict[str, Callable[[], list[Result]]] = {each.__name__.rpartition(".")[2]: each.run for each in MODULES}


def main(names: Sequence[str] = tuple(BENCHMARKS)) -> None:
    """Run benchmarks; a peer that is not installed is named, and its benchmark left out."""
    results = [result for name in names for result in BENCHMARKS[name]()]
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", choices=[[], *BENCHMARKS], metavar="name", help=f"{', '.join(BENCHMARKS)}; none: all"
    )
    main(parser.parse_args().names or tuple(BENCHMARKS))

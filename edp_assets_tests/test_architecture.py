"""Imports run one way, without cycles, and science knows nothing of Dagster; and these rules can fail."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "edp_assets"

RANKS = {
    "edp_assets.settings": 0,
    "edp_assets.seal": 0,
    "edp_assets.ending": 0,
    "edp_assets.cohort.schema": 0,
    "edp_assets.science": 1,
    "edp_assets.figures": 2,
    "edp_assets.engines": 2,
    "edp_assets.cohort": 3,
    "edp_assets.storage": 4,
    "edp_assets.partitions": 4,
    "edp_assets.summary": 5,
    "edp_assets.export": 5,
    "edp_assets.export_phewas": 6,
    "edp_assets.gwas": 5,
    "edp_assets.assets": 5,
    "edp_assets.checks": 6,
    "edp_assets.graph": 7,
    "edp_assets.report": 8,
    "edp_assets.runner": 8,
    "edp_assets.refresh": 9,
    "edp_assets.automation": 10,
    "edp_assets.definitions": 11,
    "edp_assets.cli": 12,
}
WITHOUT_DAGSTER = (
    "edp_assets.settings", "edp_assets.science", "edp_assets.figures", "edp_assets.engines", "edp_assets.cohort",
)  # fmt: skip
MAX_LINES = 400


def modules() -> dict[str, str]:
    """Return the source of every module by its dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return found


def imports_of(source: str, known: set[str]) -> set[str]:
    """Return what a module imports, inside functions too; names imported from a package count as its modules."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in known else node.module)
    return found


def rank(module: str) -> int | None:
    prefixes = [name for name in RANKS if module == name or module.startswith(f"{name}.")]
    return RANKS[max(prefixes, key=len)] if prefixes else None


def broken_rules(sources: dict[str, str]) -> list[str]:
    """Return every import that runs the wrong way, every import of Dagster where it may not be, and every cycle."""
    broken = []
    graph = {}
    for module, source in sources.items():
        imported = imports_of(source, set(sources))
        graph[module] = {name for name in imported if name in sources and name != module}
        mine = rank(module)
        if mine is None and module != "edp_assets":
            broken.append(f"{module} has no rank")
            continue
        for name in graph[module]:
            theirs = rank(name)
            same_room = module.split(".")[1:2] == name.split(".")[1:2]
            if theirs is not None and mine is not None and theirs >= mine and not same_room:
                broken.append(f"{module} imports {name}, which stands above it")
        if module.startswith(WITHOUT_DAGSTER) and any(name.split(".")[0].startswith("dagster") for name in imported):
            broken.append(f"{module} imports dagster")
    return broken + [f"cycle through {module}" for module in graph if reaches_itself(module, graph)]


def reaches_itself(module: str, graph: dict[str, set[str]]) -> bool:
    seen, ahead = set(), list(graph[module])
    while ahead:
        name = ahead.pop()
        if name == module:
            return True
        if name not in seen:
            seen.add(name)
            ahead += graph.get(name, ())
    return False


def test_imports__run_one_way_without_cycles() -> None:
    assert broken_rules(modules()) == []


@pytest.mark.parametrize(
    ("module", "line", "told"),
    [
        ("edp_assets.science.bad", "import dagster", "imports dagster"),
        ("edp_assets.figures.bad", "from dagster import asset", "imports dagster"),
        ("edp_assets.science.bad", "def f():\n    from edp_assets.storage import lake", "stands above it"),
        ("edp_assets.storage.bad", "import edp_assets.cli", "stands above it"),
        ("edp_assets.storage.lake", "from edp_assets.storage import warehouse", "cycle through"),
    ],
)
def test_imports__the_rules_can_fail(module: str, line: str, told: str) -> None:
    sources = modules()
    sources[module] = sources.get(module, "") + "\n" + line
    assert any(told in problem for problem in broken_rules(sources))


def test_imports__bokeh_is_for_the_pages_alone() -> None:
    """Its Python models took nearly all of a page's time; a page's own script draws from plain values."""
    sources = modules()
    importing = {
        name for name, text in sources.items() if any(i.split(".")[0] == "bokeh" for i in imports_of(text, set()))
    }
    assert importing == set()
    assert "bokeh" in imports_of("def f():\n    import bokeh", set())


def test_definitions__load_without_heavy_libraries() -> None:
    code = (
        "import sys, edp_assets.cli, edp_assets.definitions;"
        "slow = {'torch', 'timm', 'scanpy', 'sklearn', 'matplotlib', 'nibabel', 'imblearn', 'umap', 'bokeh'};"
        "slow |= {'scipy', 'pandas'};"
        "heavy = slow & set(sys.modules);"
        "sys.exit(f'{heavy} imported' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_figures__of_the_report_load_without_heavy_libraries() -> None:
    code = (
        "import sys, edp_assets.figures.interactive, edp_assets.figures.interactive_gwas;"
        "heavy = {'matplotlib', 'bokeh'} & set(sys.modules);"
        "sys.exit(f'{heavy} imported' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_definitions__the_heavy_library_probe_can_fail() -> None:
    code = "import sys, nibabel; sys.exit(1 if {'nibabel'} & set(sys.modules) else 0)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1


def test_modules__are_small_and_say_what_belongs_there() -> None:
    for module, source in modules().items():
        assert source.count("\n") <= MAX_LINES, f"{module} is longer than {MAX_LINES} lines"
        assert ast.get_docstring(ast.parse(source)), f"{module} does not say what belongs there"

"""`edp`: the command line. Each command says what it does while it does it; what goes wrong is one readable message."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edp_assets.storage.disk import explained
from edp_assets.storage.home import Home

if TYPE_CHECKING:
    import polars as pl

    from edp_assets.runner import Failed, Outcome

UNMADE_SHOWN = 20
"""Failed partitions that a run's last words list."""


class _Failure(click.ClickException):
    """An expected failure: its message on stderr, exit 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"edp: {self.message}", err=True)


def _readable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn an exception into one message and exit 1; `--verbose` shows the traceback."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            raise _Failure("interrupted; the same command goes on from what is stored.") from None
        except Exception as error:
            if click.get_current_context().find_root().params["verbose"]:
                raise
            raise _Failure(explained(Home.from_environment().root, error)) from None

    return wrapped


def _say(line: str) -> None:
    click.echo(line)


def _show_progress() -> None:
    """Let the long steps' own progress lines (epochs, scans) through to the terminal."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("    %(message)s"))
    logger = logging.getLogger("edp_assets")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--verbose", is_flag=True, help="Show the traceback of a failure.")
def cli(verbose: bool) -> None:
    """Target discovery from organ MRI: scans to gene hits. Results lie under $EDP_HOME (default .edp)."""


def _choices(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--organ", "organs", multiple=True, help="Only this organ; may be repeated."),
        click.option("--icd10", multiple=True, help="Only this ICD-10 code; may be repeated."),
        click.option("--encoder", "encoders", multiple=True, help="Only this encoder; may be repeated."),
        click.option("--select", default=None, help="Only these assets, in Dagster's selection syntax."),
    ):
        function = option(function)
    return function


@cli.command()
@click.argument("cohort", type=click.Path(path_type=Path))
@_readable
def check(cohort: Path) -> None:
    """Read all of COHORT and list every problem at once; exit 1 where one stops a run or leaves something out."""
    from edp_assets.cohort.check import check_cohort, format_problems

    problems = check_cohort(cohort, deep=True, log=_say)
    serious = [problem for problem in problems if problem.severity != "note"]
    if problems:
        click.echo(format_problems(problems))
    if serious:
        raise click.exceptions.Exit(1)
    click.echo(f"{cohort}: no problem found.")


@cli.command()
@click.argument("cohort", type=click.Path(path_type=Path))
@_readable
def verify(cohort: Path) -> None:
    """Read every stored result of COHORT to its end and list what is damaged; exit 1 where anything is."""
    from edp_assets.storage.verify import verify as read_all
    from edp_assets.storage.workspace import Workspace

    home = Home.from_environment()
    if home.cohort_folder() is None:
        raise _Failure(f"{home.root} holds nothing yet: `edp run {cohort}` first.")
    home.bind(cohort)
    with home.writing():
        found = read_all(Workspace(home), _say)
    if found:
        told = "\n".join(f"  {damage}" for damage in found)
        raise _Failure(f"{len(found)} stored file(s) were damaged:\n{told}\n`edp run {cohort}` makes them again.")


@cli.command()
@click.argument("cohort", type=click.Path(path_type=Path))
@_choices
@_readable
def run(cohort: Path, **choices: Any) -> None:
    """Materialise the asset graph on COHORT, leaving alone what is current."""
    _run(cohort, choices)


@cli.command()
@click.argument("cohort", type=click.Path(path_type=Path))
@click.option("--retrain", is_flag=True, help="Train anew encoders that were trained on other scans.")
@click.option("--phenome", is_flag=True, help="Take a new snapshot of the PheWAS traits where diagnoses have changed.")
@_choices
@_readable
def refresh(cohort: Path, **choices: Any) -> None:
    """Compare labels, scans and withdrawals with what is stored; rebuild only what they touch; say what and why."""
    home = Home.from_environment()
    outcome = _refresh(home, cohort, choices)
    if outcome.made:
        _close_if_free(home)
    elif not (outcome.holds or outcome.failed or outcome.withdrawn):
        _say("nothing has changed: there is nothing to do")
    _tell_unmade(cohort, outcome)


@cli.command()
@click.option("--seed", default=0, show_default=True, help="Draw another cohort.")
@click.option("--participants", default=3000, show_default=True, help="Genotyped people.")
@click.option("--imaged", default=1200, show_default=True, help="People with scans, of these.")
@_choices
@_readable
def demo(seed: int, participants: int, imaged: int, **choices: Any) -> None:
    """Write the synthetic cohort to $EDP_HOME/demo_cohort and run the whole graph on it."""
    import json

    from edp_assets.cohort.synthetic.write import write_cohort

    home = Home.from_environment()
    folder = home.root / "demo_cohort"
    drawn = {"seed": seed, "participants": participants, "imaged": imaged}
    with home.writing():
        truth = folder / "truth.json"
        there = json.loads(truth.read_text()) if truth.exists() else {}
        if any(there.get(name) != value for name, value in drawn.items()):
            _say(f"writing the synthetic cohort (seed {seed}, {participants} people, {imaged} imaged) to {folder}")
            write_cohort(folder, **drawn, log=_say)
    _run(folder, choices)


def _run(folder: Path, choices: dict[str, Any]) -> None:
    """Bring the chosen part of the graph up to date, and close with all tables."""
    home = Home.from_environment()
    outcome = _refresh(home, folder, choices)
    _close_if_free(home)
    _tell_unmade(folder, outcome)


def _close_if_free(home: Home) -> None:
    """Print the closing tables; an hour's work does not end as a failure because a notebook holds the warehouse."""
    from edp_assets.storage.warehouse import WarehouseLockedError

    try:
        _close(home)
    except WarehouseLockedError as error:
        _say(f"no closing tables and report: {error}\n`edp report` makes them.")


def _refresh(home: Home, folder: Path, choices: dict[str, Any]) -> Outcome:
    from edp_assets.refresh import refresh
    from edp_assets.runner import Choice

    _show_progress()
    choice = Choice(**choices)
    outcome = refresh(home, folder, choice, _say)
    for line in outcome.withdrawals:
        _say(line)
    for line in outcome.changes:
        _say(f"changed: {line}")
    made = sum(outcome.made.values())
    _say(f"\n{made} partitions made, {sum(outcome.current.values())} were current, in {outcome.seconds:.0f} s")
    return outcome


def _tell_unmade(folder: Path, outcome: Outcome) -> None:
    """Print what failed, what failed checks hold, who is found though they withdrew; exit 1 where there is any."""
    from edp_assets.runner.retry import command
    from edp_assets.summary import held_lines

    told = []
    if outcome.failed:
        told.append(f"{len(outcome.failed)} partition(s) failed (everything that does not stand below them is made):")
        told += _first(_by_reason(outcome.failed), "the runs in Dagster's UI have them all")
        if click.get_current_context().find_root().params["verbose"]:
            told += [failed.reason.traceback for failed in outcome.failed[:UNMADE_SHOWN]]
    if outcome.holds:
        told.append(f"{len(outcome.holds)} failed check(s) hold what stands downstream (everything else is made):")
        told += [f"  {line}" for line in held_lines(outcome.holds)]
    if outcome.held:
        told.append(f"held partitions: {', '.join(f'{name} {n}' for name, n in outcome.held.items())}")
    if outcome.holds:
        told.append("A changed threshold in cohort.toml's [checks] releases them at the next run.")
    if outcome.retry is not None:
        told.append(f"To make those that failed, and what stands below them:\n  {command(folder, outcome.retry)}")
    told += outcome.withdrawn
    if told:
        raise _Failure("\n".join(told))


def _by_reason(failed: Sequence[Failed]) -> list[str]:
    """Return a line for each asset and reason, with the first of its partitions."""
    alike: dict[tuple[str, str], list[str]] = {}
    for each in failed:
        alike.setdefault(("/".join(each.asset), f"{each.reason}"), []).append(" ".join(key for _, key in each.cell))
    return [
        f"{asset} [{', '.join(cells[:3])}{f' and {len(cells) - 3} more' if len(cells) > 3 else ''}]: {reason}"
        for (asset, reason), cells in alike.items()
    ]


def _first(items: Sequence[object], elsewhere: str) -> list[str]:
    more = len(items) - UNMADE_SHOWN
    return [f"  {item}" for item in items[:UNMADE_SHOWN]] + ([f"  and {more} more: {elsewhere}"] if more > 0 else [])


def _close(home: Home) -> None:
    """Print the closing tables and where things are."""
    from edp_assets import summary
    from edp_assets.report.build import build_report
    from edp_assets.storage.workspace import Workspace

    workspace = Workspace(home)
    for title, frame in summary.closing_tables(home.warehouse, synthetic=workspace.cohort.synthetic).items():
        _table(title, frame)
    for reason in summary.genes_unknown(home.warehouse):
        _say(f"Genes are not counted, loci are: {reason}")
    report = build_report(workspace, _say)
    _say(f"warehouse: {home.warehouse}\nreport:    {report}\nUI:        make ui (same EDP_HOME)")


def _table(title: str, frame: pl.DataFrame) -> None:
    """Print a table; one without rows is of what has not been made, or holds nothing."""
    if not frame.height:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # As Text: in a plain string rich takes [labels] for markup.
    table = Table(title=Text(title), title_justify="left")
    for name, dtype in frame.schema.items():
        number = dtype.is_numeric()
        # Names of labels and reasons are read whole; figures are short.
        table.add_column(Text(name.replace("_", " ")), justify="right" if number else "left", overflow="fold")
    for row in frame.iter_rows():
        table.add_row(*(Text("" if v is None else f"{v:.3f}" if isinstance(v, float) else str(v)) for v in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(table)


@cli.command()
@_readable
def report() -> None:
    """Build the report from the warehouse."""
    home = Home.from_environment()
    if home.cohort_folder() is None:
        raise _Failure(f"{home.root} holds nothing yet: run `edp run COHORT` or `edp demo` first.")
    from edp_assets.runner import bring_warehouse_up_to_date
    from edp_assets.storage.workspace import Workspace

    bring_warehouse_up_to_date(Workspace(home), _say)
    _close(home)


@cli.command()
@click.option("--organ", default=None, help="The organ.")
@click.option("--icd10", default=None, help="The ICD-10 code, or set.label.")
@click.option("--encoder", default="mae", show_default=True, help="The encoder.")
@click.option(
    "--method",
    default=None,
    help="One method alone, or what needs no encoder (icd10_whole_cohort, fat_fraction); else every EDP.",
)
@click.option("--phewas", is_flag=True, help="The phenome-wide scan instead, as PHESANT's results.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the files.")
@_readable
def export(organ: str | None, icd10: str | None, encoder: str, method: str | None, phewas: bool, out: Path) -> None:
    """Write stored summary statistics as GWAS-SSF v1.0, a .tsv.gz with its -meta.yaml for each phenotype."""
    from edp_assets.export import Asked
    from edp_assets.export import export as write
    from edp_assets.storage.workspace import Workspace

    if phewas:
        from edp_assets.export_phewas import export_phewas as write
    write(Workspace.current(), Asked(organ, icd10, encoder, method), out, _say)


@cli.command()
@click.option("--genotypes", required=True, help="A .bed, .pgen or .bgen, or a pattern as chr{chromosome}.bed.")
@click.option("--phenotypes", required=True, type=click.Path(path_type=Path), help="Table: FID IID and a column each.")
@click.option("--covariates", required=True, type=click.Path(path_type=Path), help="Table: FID IID and a column each.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the files, one a phenotype.")
@click.option("--binary", is_flag=True, help="Cases and controls (0/1, or 1/2): score test with saddlepoint tails.")
@click.option("--pred", default=None, type=click.Path(path_type=Path), help="regenie step 1's _pred.list.")
@click.option(
    "--maf",
    default=0.01,
    show_default=True,
    type=click.FloatRange(0, 0.5, max_open=True),
    help="Least allele frequency.",
)
@click.option("--mac", default=20, show_default=True, type=click.IntRange(0), help="Least minor allele count.")
@click.option("--geno", default=0.1, show_default=True, type=click.FloatRange(0, 1), help="Largest share of no calls.")
@click.option(
    "--hwe", default=0.0, show_default=True, type=click.FloatRange(0, 1, max_open=True), help="Least Hardy-Weinberg p."
)
@click.option("--info", default=0.0, show_default=True, type=click.FloatRange(0, 1), help="Least MaCH r2 of dosages.")
@click.option(
    "--build",
    default="GRCh37",
    show_default=True,
    type=click.Choice(["GRCh37", "GRCh38", "NCBI36"]),
    help="Where X's pseudo-autosomal regions lie.",
)
@_readable
def gwas(
    genotypes: str, phenotypes: Path, covariates: Path, out: Path, binary: bool, pred: Path | None, **chosen: Any
) -> None:
    """Associate every phenotype of a table, each over the people who have it; write DIR/<phenotype>.parquet."""
    from edp_assets.gwas import Asked, associate
    from edp_assets.settings import AssociationSettings

    settings = AssociationSettings(
        min_maf=chosen["maf"],
        min_mac=chosen["mac"],
        max_missing=chosen["geno"],
        min_hwe_p=chosen["hwe"],
        min_info=chosen["info"],
    )
    asked = Asked(genotypes, phenotypes, covariates, out, binary, pred, chosen["build"], settings)
    try:
        associate(asked, _say)
    except KeyboardInterrupt:
        raise _Failure(f"interrupted: nothing was written to {out}.") from None


@cli.command("import-ukb")
@click.option(
    "--tables", "tables", required=True, multiple=True, type=click.Path(path_type=Path), help="Export of fields."
)
@click.option("--images", multiple=True, type=click.Path(path_type=Path, exists=True), help="Folder of NIfTI files.")
@click.option("--genotypes", default=None, help="A .bed, .pgen or .bgen, or a pattern as chr{chromosome}.bgen.")
@click.option("--withdrawn", default=None, type=click.Path(path_type=Path), help="Eids of the withdrawn, one a line.")
@click.option("--variant-to-gene", default=None, type=click.Path(path_type=Path), help="Open Targets' scores.")
@click.option("--kinship", default=None, type=click.Path(path_type=Path), help="ukb_rel.dat.")
@click.option("--traits", multiple=True, help="A further field for traits.parquet: 30760, 30760-0.0, p30760_i0.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The cohort folder.")
@click.option("--update", is_flag=True, help="Write the tables of a cohort folder again; cohort.toml stays.")
@_readable
def import_ukb(**chosen: Any) -> None:
    """Turn UK Biobank's exports (RAP, ukbconv) and folders of images into a cohort folder."""
    from edp_assets.cohort.ukb.folder import REPORT, Asked
    from edp_assets.cohort.ukb.write import import_ukb as write

    report = write(Asked(**chosen), _say)
    _say("\n" + "\n".join(report.lines()))
    _say(f"\nwritten to {chosen['out']}, this report as {REPORT}; next: edp check {chosen['out']}")


def main() -> None:
    """Entry point of `edp`."""
    cli(prog_name="edp")

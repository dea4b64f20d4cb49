"""Every problem of a folder at once: each break of the acceptance list alone, and all of them together."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edp_assets.cohort.check import check_cohort, format_problems
from edp_assets.cohort.problems import Problem
from edp_assets_tests.science.genetics.bgen_writer import hard_calls, write_bgen

Break = Callable[[Path], None]


def append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def missing_file(folder: Path) -> None:
    (folder / "images" / "1000001_fat.nii.gz").unlink()


def missing_column(folder: Path) -> None:
    path = folder / "variant_to_gene.csv"
    path.write_text(path.read_text().replace("gene_id", "ensembl"))


def unknown_eid(folder: Path) -> None:
    append(folder / "diagnoses.csv", "1000099,K760")


def duplicate_eid(folder: Path) -> None:
    lines = (folder / "participants.csv").read_text().splitlines()
    append(folder / "participants.csv", lines[1])


def contradicting_eid(folder: Path) -> None:
    lines = (folder / "participants.csv").read_text().splitlines()
    append(folder / "participants.csv", lines[2].replace("51.5", "52.5"))


def other_grid(folder: Path) -> None:
    from nibabel import Nifti1Image, load, save

    path = folder / "images" / "1000002_mask.nii.gz"
    image = load(path)
    save(Nifti1Image(np.asarray(image.dataobj), image.affine @ np.diag([1, 1, 2, 1])), path)


def other_shape(folder: Path) -> None:
    from nibabel import Nifti1Image, load, save

    path = folder / "images" / "1000006_mask.nii.gz"
    image = load(path)
    save(Nifti1Image(np.asarray(image.dataobj)[:, :, :5], image.affine), path)


def empty_mask(folder: Path) -> None:
    from nibabel import Nifti1Image, load, save

    path = folder / "images" / "1000003_mask.nii.gz"
    image = load(path)
    save(Nifti1Image(np.zeros(image.shape, dtype=np.uint8), image.affine), path)


def corrupt_image(folder: Path) -> None:
    cut(folder / "images" / "1000004_water.nii.gz", 400)


def truncated_bed(folder: Path) -> None:
    cut(folder / "genotypes" / "all.bed", 20)


def code_without_case(folder: Path) -> None:
    path = folder / "cohort.toml"
    path.write_text(path.read_text().replace('"I50"]', '"I50", "Z99"]'))


BREAKS: list[tuple[Break, str, str, str, str]] = [
    (missing_file, "excluded", "scans.csv", "row 2, eid 1000001", "no file images/1000001_fat.nii.gz"),
    (missing_column, "refused", "variant_to_gene.csv", "", "gene_id missing"),
    (unknown_eid, "excluded", "diagnoses.csv", "row 9, eid 1000099", "unknown eid"),
    (duplicate_eid, "excluded", "participants.csv", "row 10, eid 1000001", "repeats an earlier one"),
    (contradicting_eid, "refused", "participants.csv", "rows 3, 1", "differ in age"),
    (other_grid, "excluded", "scans.csv", "row 3, eid 1000002", "mask on another grid"),
    (other_shape, "excluded", "scans.csv", "row 7, eid 1000006", "mask on another grid"),
    (empty_mask, "excluded", "scans.csv", "row 4, eid 1000003", "empty mask"),
    (corrupt_image, "excluded", "scans.csv", "row 5, eid 1000004", "corrupt file: images/1000004_water.nii.gz"),
    (truncated_bed, "refused", "genotypes/all.bed", "", "truncated"),
    (code_without_case, "excluded", "cohort.toml", "'Z99'", "0 of its 0 cases"),
]


def assert_told(problems: list[Problem], severity: str, file: str, where: str, found: str) -> None:
    hits = [p for p in problems if p.severity == severity and p.file == file and where in p.where and found in p.found]
    assert len(hits) == 1, format_problems(problems)
    assert hits[0].remedy
    assert hits[0].wanted


def test_check_cohort__a_sound_folder_has_no_problem(cohort_template: Path) -> None:
    assert check_cohort(cohort_template, deep=True) == []


@pytest.mark.parametrize(
    ("break_it", "severity", "file", "where", "found"), BREAKS, ids=[b[0].__name__ for b in BREAKS]
)
def test_check_cohort__each_break_alone(
    cohort_folder: Path, break_it: Break, severity: str, file: str, where: str, found: str
) -> None:
    break_it(cohort_folder)
    problems = check_cohort(cohort_folder, deep=True)
    assert_told(problems, severity, file, where, found)
    # No other problem is made of it, but that a code may lose its cases with the scan.
    assert len([p for p in problems if "[labels]" not in p.where or p.file == file]) == 1


def test_check_cohort__all_breaks_at_once(cohort_folder: Path) -> None:
    for break_it, *_ in BREAKS:
        break_it(cohort_folder)
    problems = check_cohort(cohort_folder, deep=True)
    for _, severity, file, where, found in BREAKS:
        assert_told(problems, severity, file, where, found)
    words = " ".join(format_problems(problems).split())
    for problem in problems:
        assert " ".join(problem.found.split()) in words
        assert problem.where in words
        assert " ".join(problem.remedy.split()) in words


def test_check_cohort__doubtful_scans_are_told_with_what_to_do(cohort_folder: Path) -> None:
    from nibabel import Nifti1Image, load, save

    images = cohort_folder / "images"
    image = load(images / "1000001_fat.nii.gz")
    save(Nifti1Image(np.asarray(image.dataobj) * 30, image.affine), images / "1000001_fat.nii.gz")
    mask = load(images / "1000002_mask.nii.gz")
    voxels = np.asarray(mask.dataobj).copy()
    voxels[5, 5, 5] = 1
    save(Nifti1Image(voxels, mask.affine), images / "1000002_mask.nii.gz")
    voxels[:, :, 2:] = 0
    save(Nifti1Image(voxels, mask.affine), images / "1000003_mask.nii.gz")
    problems = check_cohort(cohort_folder, deep=True)
    assert len(problems) == 3
    assert_told(
        problems, "excluded", "scans.csv", "row 2, eid 1000001, liver", "fat-water swap suspected: images/1000001_m"
    )
    edge = "mask touches the volume's edge: images/1000002_mask.nii.gz: wanted an organ that ends inside the volume"
    assert_told(problems, "excluded", "scans.csv", "row 3, eid 1000002, liver", edge)
    assert_told(problems, "excluded", "scans.csv", "row 4, eid 1000003, liver", "found 1")
    assert "or lower min_slices in cohort.toml; until then the scan is left out" in problems[2].remedy


def test_check_cohort__wrong_settings_do_not_hide_the_tables(cohort_folder: Path) -> None:
    path = cohort_folder / "cohort.toml"
    path.write_text(path.read_text().replace("GRCh37", "hg19"))
    unknown_eid(cohort_folder)
    truncated_bed(cohort_folder)
    problems = check_cohort(cohort_folder, deep=False)
    assert [p.file for p in problems] == ["cohort.toml", "diagnoses.csv", "genotypes/all.bed"]


def test_check_cohort__unreadable_participants_make_nobody_unknown(cohort_folder: Path) -> None:
    (cohort_folder / "participants.csv").unlink()
    problems = check_cohort(cohort_folder, deep=True)
    assert [(p.severity, p.file) for p in problems] == [("refused", "participants.csv")]


def test_check_cohort__every_table_missing(cohort_folder: Path) -> None:
    for name in ("participants.csv", "diagnoses.csv", "scans.csv", "variant_to_gene.csv", "genotypes/all.bed"):
        (cohort_folder / name).unlink()
    refused = {p.file for p in check_cohort(cohort_folder, deep=True) if p.severity == "refused"}
    assert refused == {"participants.csv", "diagnoses.csv", "scans.csv", "variant_to_gene.csv", "genotypes/all.bed"}


def test_check_cohort__no_folder(tmp_path: Path) -> None:
    (problem,) = check_cohort(tmp_path / "no", deep=True)
    assert (problem.severity, problem.file) == ("refused", "cohort.toml")


def test_check_cohort__shallow_reads_no_image(cohort_folder: Path) -> None:
    for break_it in (other_grid, empty_mask, corrupt_image):
        break_it(cohort_folder)
    assert check_cohort(cohort_folder, deep=False) == []


def test_check_cohort__people_of_tables_and_genotypes(cohort_folder: Path) -> None:
    fam = cohort_folder / "genotypes" / "all.fam"
    fam.write_text(fam.read_text().replace("1000001", "2000001").replace("1000008", "2000008"))
    problems = check_cohort(cohort_folder, deep=False)
    excluded = [p for p in problems if p.severity == "excluded"]
    assert [p.where for p in excluded] == ["eid 1000001", "eid 1000008"]
    assert excluded[0].found == "no genotypes (2 of 8 participants)"
    assert [p.found for p in problems if p.severity == "note"] == [
        "1 of 6 people with scans have no genotypes",
        "2 genotyped people who are no participants",
    ]


def test_check_cohort__no_shared_ids_are_refused(cohort_folder: Path) -> None:
    fam = cohort_folder / "genotypes" / "all.fam"
    fam.write_text(fam.read_text().replace("100000", "900000"))
    (problem,) = check_cohort(cohort_folder, deep=False)
    assert problem.severity == "refused"
    assert "none of the 8 participants" in problem.found


def test_check_cohort__chromosomes(cohort_folder: Path, edit: Callable[..., None]) -> None:
    edit(cohort_folder / "cohort.toml", "all.bed", "chr{chromosome}.bed")
    (problem,) = check_cohort(cohort_folder, deep=False)
    assert (problem.severity, problem.found) == ("refused", "none of these files is there")
    for chromosome in ("1", "2"):
        for ending in ("bed", "bim", "fam"):
            name = f"chr{chromosome}.{ending}"
            shutil.copy(cohort_folder / "genotypes" / f"all.{ending}", cohort_folder / "genotypes" / name)
    cut(cohort_folder / "genotypes" / "chr2.bed", 9)
    problems = check_cohort(cohort_folder, deep=False)
    assert [(p.severity, p.file) for p in problems] == [
        ("note", "genotypes/chr{chromosome}.bed"), ("refused", "genotypes/chr2.bed")
    ]  # fmt: skip


def as_bgen(folder: Path, chromosome: str = "01", alleles: tuple[str, str] = ("G", "A")) -> Path:
    """Write genotypes/all.bgen with the people and the calls of all.bed."""
    from edp_assets.science.genetics.genotypes import open_genotypes

    with open_genotypes(folder / "genotypes" / "all.bed") as bed:
        variants = hard_calls(bed.read(0, bed.n_variants), chromosome=chromosome, alleles=alleles)
        return write_bgen(folder / "genotypes" / "all.bgen", variants, bed.sample_ids)


def test_check_cohort__bgen(cohort_folder: Path, edit: Callable[..., None]) -> None:
    edit(cohort_folder / "cohort.toml", "all.bed", "all.bgen")
    path = as_bgen(cohort_folder)
    assert check_cohort(cohort_folder, deep=False) == []
    cut(path, 20)
    assert_told(check_cohort(cohort_folder, deep=False), "refused", "genotypes/all.bgen", "", "truncated")


def test_check_cohort__genotypes_of_another_chromosome(cohort_folder: Path, edit: Callable[..., None]) -> None:
    edit(cohort_folder / "cohort.toml", "all.bed", "chr{chromosome}.bgen")
    as_bgen(cohort_folder, chromosome="NA").rename(cohort_folder / "genotypes" / "chr3.bgen")
    problems = check_cohort(cohort_folder, deep=False)
    assert_told(problems, "refused", "genotypes/chr3.bgen", "", "12 variants, of 'NA'")


def test_check_cohort__repeated_variants(cohort_folder: Path) -> None:
    bim = cohort_folder / "genotypes" / "all.bim"
    bim.write_text(bim.read_text().replace("rs3\t0\t1003\tA\tG", "rs3\t0\t1002\tG\tA"))
    problems = check_cohort(cohort_folder, deep=False)
    assert_told(problems, "note", "genotypes/all.bed", "", "1 variants that repeat an earlier one")


def test_check_cohort__positions_of_another_build_are_refused(cohort_folder: Path) -> None:
    bim = cohort_folder / "genotypes" / "all.bim"
    lines = bim.read_text().splitlines()
    # The last gene of chromosome 17 is beyond its end in GRCh37.
    lines[-2:] = ["17\trs98\t0\t81195210\tA\tG", "17\trs99\t0\t83000000\tA\tG"]
    bim.write_text("\n".join(lines) + "\n")
    (problem,) = check_cohort(cohort_folder, deep=False)
    assert (problem.severity, problem.file) == ("refused", "genotypes/all.bed")
    assert problem.wanted == "positions of GRCh37, the genome_build of cohort.toml"
    assert "1 of 12 variants beyond the end of their chromosome, the first on 17 at 83000000" in problem.found
    assert problem.remedy == "correct genome_build, or the positions, which GRCh38 would have"
    toml = cohort_folder / "cohort.toml"
    toml.write_text(toml.read_text().replace("GRCh37", "GRCh38"))
    assert check_cohort(cohort_folder, deep=False) == []
    bim.write_text(bim.read_text().replace("83000000", "1083000000"))
    (problem,) = check_cohort(cohort_folder, deep=False)
    assert problem.remedy.endswith("which no build known here has")


def test_check_cohort__no_variant_to_gene_is_noted(cohort_folder: Path, edit: Callable[..., None]) -> None:
    edit(cohort_folder / "cohort.toml", 'variant_to_gene = "variant_to_gene.csv"\n', "")
    (problem,) = check_cohort(cohort_folder, deep=False)
    assert (problem.severity, problem.wanted) == ("note", "a variant-to-gene table")


def test_check_cohort__progress_names_nobody(cohort_template: Path) -> None:
    lines: list[str] = []
    check_cohort(cohort_template, deep=True, log=lines.append)
    assert lines[-1] == "read 6 of 6 scans"
    assert not any("100000" in line for line in lines)


def test_check_cohort__workers_do_not_change_the_answer(cohort_folder: Path) -> None:
    for break_it in (other_grid, other_shape, empty_mask, corrupt_image):
        break_it(cohort_folder)
    one, four = (check_cohort(cohort_folder, deep=True, workers=workers) for workers in (1, 4))
    assert one == four


def test_check_cohort__3000_people_and_3600_scans_are_quick(
    cohort_folder: Path, write_bed: Callable[..., None]
) -> None:
    eids = [str(2000000 + i) for i in range(3000)]
    people = (cohort_folder / "participants.csv").read_text().splitlines()
    lines = [people[0], *(eid + people[1 + i % 8][7:] for i, eid in enumerate(eids))]
    (cohort_folder / "participants.csv").write_text("\n".join(lines))
    scans = (cohort_folder / "scans.csv").read_text().splitlines()
    names = [row.split(",", 1)[1] for row in scans[1:]]
    rows = [f"{eid},{names[i % 6]}" for i, eid in enumerate(eids + eids[:600])]
    (cohort_folder / "scans.csv").write_text("\n".join([scans[0], *rows]))
    codes = [f"{eid},K760\n{eid},I50" for eid in eids[::10]]
    (cohort_folder / "diagnoses.csv").write_text("\n".join(["eid,icd10", *codes]))
    write_bed(cohort_folder / "genotypes" / "all", eids)
    start = time.monotonic()
    problems = check_cohort(cohort_folder, deep=False)
    assert time.monotonic() - start < 3
    # 600 rows repeat, and 18 files are shared between people.
    assert len(problems) == 618


def test_check_cohort__gene_tables_of_the_wrong_kind_are_refused(
    cohort_folder: Path, edit: Callable[..., None]
) -> None:
    toml, table = cohort_folder / "cohort.toml", cohort_folder / "variant_to_gene.csv"
    edit(toml, "[genotypes]", 'gene_table = "genes.csv"\n[genotypes]')
    (cohort_folder / "genes.csv").write_text("gene,chromosome,start,end\nFTO,16,9,2\n")
    table.write_text("studyLocusId,geneId,score\na,E,0.5\n")
    found = {p.file: p.found for p in check_cohort(cohort_folder, deep=False) if p.severity == "refused"}
    assert found["variant_to_gene.csv"].startswith("variant_to_gene.csv: L2G names loci, not variants")
    assert found["genes.csv"].startswith("genes.csv, row 1: wanted a gene, a chromosome and whole numbers start <= end")
    table.write_text("chr_id,position,ref_allele,alt_allele,gene_id,overall_score\n1,5,A,C,E,0.5\n")
    (cohort_folder / "genes.csv").write_text("gene,chromosome,start,end\nFTO,16,2,9\n")
    (problem,) = check_cohort(cohort_folder, deep=False)
    assert "(v2g_scored) is of GRCh38, the genotypes are of GRCh37" in problem.found


@pytest.mark.parametrize(("section", "name"), [("few_shot", "codes"), ("evidence", "unadjusted_codes")])
def test_check_cohort__named_codes_that_are_not_studied_are_refused(
    cohort_folder: Path, section: str, name: str
) -> None:
    path = cohort_folder / "cohort.toml"
    path.write_text(f'{path.read_text()}\n[{section}]\n{name} = ["I5O", "I50"]\n')
    (problem,) = check_cohort(cohort_folder, deep=False)
    assert (problem.severity, problem.where) == ("refused", f"[{section}] {name}")
    assert problem.found.startswith("'I5O'")

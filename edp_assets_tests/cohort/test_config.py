"""cohort.toml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edp_assets.cohort.config import CHROMOSOMES, load_cohort, parse_cohort
from edp_assets.cohort.problems import CohortError
from edp_assets.settings import ORGANS, Settings


def test_load_cohort__reads_paths_and_settings(cohort_folder: Path) -> None:
    cohort = load_cohort(cohort_folder)
    assert (cohort.name, cohort.genome_build) == ("tiny", "GRCh37")
    assert cohort.participants == cohort_folder.resolve() / "participants.csv"
    assert cohort.withdrawn is None
    assert cohort.settings.labels.codes == ("K76", "I50")
    assert cohort.settings.organs["liver"] == ORGANS["liver"]


def test_load_cohort__byte_order_mark_and_crlf(cohort_folder: Path) -> None:
    path = cohort_folder / "cohort.toml"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_cohort(cohort_folder).name == "tiny"


def test_load_cohort__overrides(cohort_folder: Path) -> None:
    with (cohort_folder / "cohort.toml").open("a") as file:
        file.write(
            'channels = ["fat"]\n[organs.hippocampus]\nchannels = ["t1"]\npatch = 4\n[encoders.mae]\nepochs = 2\n'
        )
    settings = load_cohort(cohort_folder).settings
    assert settings.organs["liver"].channels == ("fat",)
    assert settings.organs["hippocampus"].patch == 4
    assert settings.mae.epochs == 2


def test_load_cohort__every_wrong_key_at_once(cohort_folder: Path, edit: Callable[..., None]) -> None:
    toml = cohort_folder / "cohort.toml"
    edit(toml, 'name = "tiny"\n', "")
    edit(toml, '"GRCh37"', '"hg19"')
    edit(toml, "scans =", "scan =")
    edit(toml, "all.bed", "chr{chrom}.vcf")
    edit(toml, "min_cases = 2", "min_case = 2\nlevel = 9")
    edit(
        toml,
        "[organs.liver]",
        '[organs.liver]\nchanels = ["fat"]\n[clasifier]\nfolds = 3\n[encoders.mea]\nsize = "S"\n',
    )
    with pytest.raises(CohortError) as caught:
        load_cohort(cohort_folder)
    text = str(caught.value)
    for part in (
        "[cohort] name",
        'write genome_build = "GRCh37"',
        'unknown "scan", did you mean "scans"?',
        "[cohort] scans",
        "{chrom} in 'genotypes/chr{chrom}.vcf'",
        "a file ending in .bed, .pgen, .bgen",
        'unknown "min_case", did you mean "min_cases"?',
        "less than or equal to 7",
        'unknown "chanels", did you mean "channels"?',
        'unknown "clasifier", did you mean "classifier"?',
        "'mea', did you mean \"mae\"?",
    ):
        assert part in text
    assert all(problem.severity == "refused" and problem.remedy for problem in caught.value.problems)


@pytest.mark.parametrize("build", ["GRCh38", "NCBI36"])
def test_load_cohort__other_builds(cohort_folder: Path, edit: Callable[..., None], build: str) -> None:
    edit(cohort_folder / "cohort.toml", "GRCh37", build)
    assert load_cohort(cohort_folder).genome_build == build


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[cohort\n", "at line 1"),
        (b"\xff\xfe[\x00", "not UTF-8 text"),
        (b"", "no such key"),
        (b"cohort = 3\ngenotypes = [1]\norgans = 'liver'\nlabels = 2\n", "cohort = 3"),
        (b"[organs]\nliver = 3\n", r"\[organs.liver\]"),
        (b"[organs.'../x']\n", "named by letters"),
        (b"[cohort]\nname = 3\nparticipants = ''\n", "found:  .*participants: ''"),
    ],
)
def test_load_cohort__broken_file(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "cohort.toml").write_bytes(content)
    with pytest.raises(CohortError, match=message):
        load_cohort(tmp_path)


def test_load_cohort__no_file(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"give the folder that holds cohort\.toml"):
        load_cohort(tmp_path / "nowhere")


def test_load_cohort__limits_of_an_organ(cohort_folder: Path, edit: Callable[..., None]) -> None:
    limits = 'may_touch = ["superior"]\nfat_fraction = [0.1, 0.9]\nmin_slices = 1\n[organs.hippocampus]\n'
    edit(cohort_folder / "cohort.toml", "[organs.liver]", f"[organs.liver]\n{limits}")
    organs = load_cohort(cohort_folder).settings.organs
    liver = organs["liver"]
    assert (liver.may_touch, liver.fat_fraction, liver.min_slices) == (("superior",), (0.1, 0.9), 1)
    assert len(organs["hippocampus"].may_touch) == 6  # nothing is known of where it may end
    edit(cohort_folder / "cohort.toml", '["superior"]', '["top"]')
    with pytest.raises(CohortError, match=r"(?s)'left', 'right'.*'superior' \(found 'top'\)"):
        load_cohort(cohort_folder)


def test_load_cohort__no_organs(cohort_folder: Path, edit: Callable[..., None]) -> None:
    edit(cohort_folder / "cohort.toml", "[organs.liver]", "")
    with pytest.raises(CohortError, match=r"at least one section \[organs"):
        load_cohort(cohort_folder)


def test_parse_cohort__wrong_settings_keep_their_defaults(cohort_folder: Path, edit: Callable[..., None]) -> None:
    edit(cohort_folder / "cohort.toml", "min_cases = 2", 'min_cases = "two"')
    cohort, problems = parse_cohort(cohort_folder)
    assert cohort is not None
    assert cohort.settings.labels == Settings().labels
    assert len(problems) == 1


def test_parse_cohort__sections_that_contradict_each_other_are_told_all_and_the_rest_is_read(
    cohort_folder: Path, edit: Callable[..., None]
) -> None:
    edit(
        cohort_folder / "cohort.toml",
        "[organs.liver]",
        '[gwas]\nstored_max_p = 1e-3\n[loci]\nclumping = "ld"\n[few_shot]\ncodes = ["I10", "K76"]\n[organs.liver]',
    )
    edit(cohort_folder / "cohort.toml", "min_cases = 2", 'min_cases = "two"')
    cohort, problems = parse_cohort(cohort_folder)
    assert cohort is not None
    assert (cohort.settings.gwas, cohort.settings.loci.clumping) == (Settings().gwas, "ld")
    assert len(problems) == 2
    assert "min_cases" in str(problems[0])
    assert problems[1].wanted == "sections that agree"
    assert problems[1].found == (
        "gwas.stored_max_p (0.001) must be at least 0.01: loci are made of stored rows; "
        "[few_shot] codes compares all variants of I10, K76: name them in gwas.full_codes as well"
    )


def test_genotype_paths__existing_chromosomes_in_natural_order(cohort_folder: Path, edit: Callable[..., None]) -> None:
    edit(cohort_folder / "cohort.toml", "all.bed", "chr{chromosome}.bed")
    for chromosome in ("X", "10", "2", "1", "MT", "23"):
        (cohort_folder / "genotypes" / f"chr{chromosome}.bed").touch()
    paths = load_cohort(cohort_folder).genotype_paths()
    assert list(paths) == ["1", "2", "10", "X", "MT"]
    assert paths["10"] == cohort_folder.resolve() / "genotypes" / "chr10.bed"
    assert CHROMOSOMES[0] == "1"


def test_genotype_paths__one_file(cohort_folder: Path) -> None:
    assert list(load_cohort(cohort_folder).genotype_paths()) == ["all"]


def test_load_cohort__synthetic_is_said_or_lies_beside_its_truth(
    cohort_folder: Path, edit: Callable[..., None]
) -> None:
    toml = cohort_folder / "cohort.toml"
    assert not load_cohort(cohort_folder).synthetic
    edit(toml, 'name = "tiny"\n', 'name = "tiny"\nsynthetic = true\n')
    assert load_cohort(cohort_folder).synthetic
    edit(toml, "synthetic = true", 'synthetic = "yes"')
    with pytest.raises(CohortError, match=r"\[cohort\] synthetic: 'yes'\n    wanted: true or false"):
        load_cohort(cohort_folder)
    edit(toml, 'synthetic = "yes"\n', "")
    (cohort_folder / "truth.json").touch()
    assert load_cohort(cohort_folder).synthetic


@pytest.mark.parametrize("named", ["variant_to_gene", "gene_table", "phecode_map"])
def test_genes_unknown__where_neither_score_nor_distance_tells(
    cohort_folder: Path, edit: Callable[..., None], named: str
) -> None:
    edit(cohort_folder / "cohort.toml", "variant_to_gene =", f"{named} =")
    unknown = "no variant_to_gene in cohort.toml: genes are not known"
    assert load_cohort(cohort_folder).genes_unknown == (unknown if named == "phecode_map" else "")

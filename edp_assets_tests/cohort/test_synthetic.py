"""The synthetic cohort: its files against the contract, its genetics and anatomy against what is planted."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from edp_assets.cohort.synthetic import genes, genotypes, labels, phenome, write
from edp_assets.cohort.synthetic.anatomy import MAX_SPAN, ORIENTATIONS, draw_scan, nifti_bytes, store_as
from edp_assets.cohort.synthetic.people import draw_eids, draw_people
from edp_assets.cohort.synthetic.traits import NULL_CHROMOSOMES, ORGANS, PLANTED, TRAITS, draw_sizes, draw_traits
from edp_assets.cohort.synthetic.write import write_cohort
from edp_assets.science.phenome.scan import PhenomeScan
from edp_assets.settings import Settings

PARTICIPANTS, IMAGED, SEED = 200, 24, 3  # 24 people are two tasks, for two processes
CHI2_GENOME_WIDE = 29.72  # p = 5e-8 on one degree of freedom
AVERAGE = {trait.name: 0.0 for trait in TRAITS}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "a"
    write_cohort(folder, seed=SEED, participants=PARTICIPANTS, imaged=IMAGED, workers=1)
    return folder


@dataclass
class Genetics:
    admixture: NDArray[np.float64]
    components: NDArray[np.float64]
    causal: NDArray[np.int8]
    null: NDArray[np.int8]
    covariates: NDArray[np.float64]
    traits: dict[str, NDArray[np.float64]]
    cases: dict[str, NDArray[np.bool_]]


@pytest.fixture(scope="module")
def genetics() -> Genetics:
    """3,000 people without images, on a fifth of the variants."""
    rng = np.random.default_rng(11)
    people = draw_people(rng, draw_eids(rng, 3000))
    admixture = genotypes.draw_admixture(rng, 3000)
    causal, null, thinned = {}, [], []
    for chromosome in genotypes.draw_chromosomes(11, admixture, variants=2000):
        thinned.append(genotypes.thin(chromosome))
        for row, gene in enumerate(chromosome.variants["planted"]):
            if gene is not None:
                causal[gene] = chromosome.complete[row]
        if chromosome.number in NULL_CHROMOSOMES:
            null.append(chromosome.complete)
    components = genotypes.principal_components(np.concatenate(thinned))
    dosages = np.stack([causal[p.gene] for p in PLANTED])
    age, sex, bmi = (people[name].to_numpy().astype(np.float64) for name in ("age", "sex", "bmi"))
    traits = draw_traits(rng, dosages, age=age, sex=sex, bmi=bmi, ancestry=admixture[:, 0])
    cases = labels.draw_cases(rng, {**traits, "age": age, "sex": sex, "bmi": bmi})
    covariates = np.column_stack([np.ones(3000), age, age**2, sex, bmi, components])
    return Genetics(admixture, components, dosages, np.concatenate(null), covariates, traits, cases)


def chi2(genetics: Genetics, phenotype: NDArray, variants: NDArray, people: int = 1200) -> NDArray[np.float64]:
    """Squared t of each variant in the first `people`, covariates projected out: plain least squares."""
    basis, _ = np.linalg.qr(genetics.covariates[:people])
    y = phenotype[:people].astype(np.float64)
    x = variants[:, :people].astype(np.float64).T
    y, x = y - basis @ (basis.T @ y), x - basis @ (basis.T @ x)
    r2 = (x.T @ y) ** 2 / (x * x).sum(axis=0) / (y @ y)
    return (people - basis.shape[1] - 1) * r2 / (1 - r2)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# The folder -----------------------------------------------------------------------------------------------------------


def test_write_cohort__tables_have_the_contracts_columns(cohort: Path) -> None:
    text = {"eid": pl.String}
    participants = pl.read_csv(cohort / "participants.csv", schema_overrides=text, try_parse_dates=True)
    assert participants.columns == [
        *("eid", "age", "sex", "bmi", "genotyping_array", "imaging_centre", "imaging_date"),
        *(f"pc{i}" for i in range(1, 11)),
    ]
    assert participants.height == PARTICIPANTS
    assert participants["eid"].n_unique() == PARTICIPANTS
    assert participants["eid"].str.len_chars().unique().to_list() == [7]
    assert participants["age"].is_between(45, 80).all()
    assert set(participants["sex"]) == {0, 1}
    assert participants["genotyping_array"].n_unique() == 2
    assert participants["imaging_centre"].n_unique() == 3
    assert participants["imaging_date"].dtype == pl.Date

    scans = pl.read_csv(cohort / "scans.csv", schema_overrides=text)
    assert scans.columns == ["eid", "organ", "mask", "image_fat", "image_water"]
    assert Counter(scans["organ"]) == dict.fromkeys(ORGANS, IMAGED)
    for column in ("mask", "image_fat", "image_water"):
        assert all((cohort / path).is_file() for path in scans[column])

    diagnoses = pl.read_csv(cohort / "diagnoses.csv", schema_overrides=text, try_parse_dates=True)
    assert diagnoses.columns == ["eid", "icd10", "date"]
    withdrawn = (cohort / "withdrawn.csv").read_text().split()
    assert len(withdrawn) == 2
    known = set(participants["eid"])
    assert known >= {*scans["eid"], *diagnoses["eid"], *withdrawn}
    for number in range(1, 23):
        fam = (cohort / f"genotypes/chr{number}.fam").read_text().splitlines()
        assert {line.split("\t")[1] for line in fam} == known


def test_write_cohort__configuration_is_one_that_settings_take(cohort: Path) -> None:
    document = tomllib.loads((cohort / "cohort.toml").read_text())
    settings = Settings.from_toml(document)
    assert set(settings.organs) == set(ORGANS)
    assert {(organ.patch, organ.resolution) for organ in settings.organs.values()} == {(6, 48)}
    assert settings.mae.size == "tiny"
    assert {"K76", "E11", "N18", "I50", "I10"} < set(settings.labels.codes)
    assert document["cohort"]["genome_build"] == "GRCh37"
    files = ("participants", "diagnoses", "scans", "withdrawn", "variant_to_gene")
    for key in (*files, "traits", "trait_dictionary", "phecode_map"):
        assert (cohort / document["cohort"][key]).is_file()


def test_write_cohort__truth_names_variants_that_are_in_the_genotypes(cohort: Path) -> None:
    truth = json.loads((cohort / "truth.json").read_text())
    assert truth["seed"] == SEED
    assert [v["gene"] for v in truth["variants"]] == [p.gene for p in PLANTED]
    effects = {v["chromosome"] for v in truth["variants"]}
    assert len(truth["null_chromosomes"]) == 2
    assert not effects & set(truth["null_chromosomes"])
    for variant in truth["variants"]:
        bim = (cohort / f"genotypes/chr{variant['chromosome']}.bim").read_text()
        fields = (
            int(variant["chromosome"]),
            variant["rsid"],
            0,
            variant["base_pair_location"],
            variant["effect_allele"],
        )
        assert "\t".join(map(str, fields)) in bim
        assert {"organ", "icd10", "trait", "variance_explained"} <= set(variant)
    traits = pl.read_parquet(cohort / "truth_traits.parquet")
    assert traits.columns[:5] == ["eid", *(trait.name for trait in TRAITS)]


def test_write_cohort__same_seed_gives_same_bytes_whatever_workers(cohort: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    again = tmp_path / "b"
    write_cohort(again, seed=SEED, participants=PARTICIPANTS, imaged=IMAGED, workers=2, log=lines.append)
    assert digests(again) == digests(cohort)
    assert any("images" in line for line in lines)


def test_write_cohort__another_seed_gives_another_cohort(cohort: Path, tmp_path: Path) -> None:
    write_cohort(tmp_path / "b", seed=SEED + 1, participants=PARTICIPANTS, imaged=1, workers=1)
    one, other = digests(cohort), digests(tmp_path / "b")
    for name in ("participants.csv", "diagnoses.csv", "genotypes/chr1.bed", "variant_to_gene.parquet"):
        assert one[name] != other[name]
    assert not {n for n in one if n.startswith("images")} & {n for n in other if n.startswith("images")}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_write_cohort__stopped_half_way_leaves_nothing_or_the_old(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error("stopped")

    folder = tmp_path / "demo"
    monkeypatch.setattr(write, "write_images", fail)
    with pytest.raises(error, match="stopped"):
        write_cohort(folder, participants=50, imaged=2, workers=1)
    assert list(tmp_path.iterdir()) == []

    folder.mkdir()
    (folder / "truth.json").write_text("old")
    with pytest.raises(error, match="stopped"):
        write_cohort(folder, participants=50, imaged=2, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert (folder / "truth.json").read_text() == "old"


def test_write_cohort__replaces_an_older_synthetic_cohort_and_leftovers(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "truth.json").write_text("old")
    (tmp_path / ".demo.partial").mkdir()
    write_cohort(folder, seed=5, participants=50, imaged=1, workers=1)
    assert json.loads((folder / "truth.json").read_text())["seed"] == 5
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_write_cohort__refuses_what_is_no_synthetic_cohort(tmp_path: Path) -> None:
    (tmp_path / "participants.csv").write_text("someone's")
    with pytest.raises(ValueError, match="no synthetic cohort"):
        write_cohort(tmp_path)
    assert (tmp_path / "participants.csv").read_text() == "someone's"
    with pytest.raises(ValueError, match="found seed=0, participants=100, imaged=200"):
        write_cohort(tmp_path / "b", participants=100, imaged=200)


# Genotypes ------------------------------------------------------------------------------------------------------------


def test_bed__pgenlib_reads_the_minor_alleles_of_the_bim(cohort: Path) -> None:
    import pgenlib

    seen = {}
    for number in (21, 22):
        bim = [line.split("\t") for line in (cohort / f"genotypes/chr{number}.bim").read_text().splitlines()]
        reader = pgenlib.PgenReader(str(cohort / f"genotypes/chr{number}.bed").encode(), raw_sample_ct=PARTICIPANTS)
        assert reader.get_variant_ct() == len(bim)
        calls = np.empty((len(bim), PARTICIPANTS), dtype=np.int8)
        reader.read_range(0, len(bim), calls)
        reader.close()
        missing = calls == -9
        assert 0.001 < missing.mean() < 0.003
        frequency = np.ma.array(calls, mask=missing).mean(axis=1) / 2
        assert frequency.max() < 0.51  # counted before calls went missing
        assert 0.3 < (frequency < 0.1).mean() < 0.75
        position = np.array([int(fields[3]) for fields in bim])
        assert (np.diff(position) > 0).all()
        assert all(fields[4] != fields[5] for fields in bim)
        seen[number] = [fields[1] for fields in bim]
    assert not set(seen[21]) & set(seen[22])


def test_write_plink__gives_back_what_was_drawn(tmp_path: Path) -> None:
    import pgenlib

    rng = np.random.default_rng(0)
    people = draw_people(rng, draw_eids(rng, 51))  # not a multiple of four
    chromosome = next(genotypes.draw_chromosomes(2, genotypes.draw_admixture(rng, 51), variants=500))
    genotypes.write_plink(tmp_path / "chr1", chromosome, people)
    reader = pgenlib.PgenReader(str(tmp_path / "chr1.bed").encode(), raw_sample_ct=51)
    calls = np.empty(chromosome.genotypes.shape, dtype=np.int8)
    reader.read_range(0, calls.shape[0], calls)
    reader.close()
    np.testing.assert_array_equal(np.where(calls == -9, -1, calls), chromosome.genotypes)
    fam = [line.split("\t") for line in (tmp_path / "chr1.fam").read_text().splitlines()]
    assert [fields[1] for fields in fam] == people["eid"].to_list()
    assert [fields[4] for fields in fam] == ["1" if sex else "2" for sex in people["sex"]]


def test_draw_chromosomes__correlation_decays_within_blocks_and_is_absent_between() -> None:
    rng = np.random.default_rng(4)
    chromosome = next(genotypes.draw_chromosomes(4, genotypes.draw_admixture(rng, 1500), variants=6000))
    common = chromosome.complete.mean(axis=1) / 2 > 0.1
    r2 = np.corrcoef(chromosome.complete[common]) ** 2
    position = chromosome.variants["base_pair_location"].to_numpy()[common]
    block = chromosome.variants["block"].to_numpy()[common]
    apart = np.abs(position[:, None] - position)
    same = block[:, None] == block
    near, middle, far = (
        r2[same & (apart > low) & (apart <= high)].mean() for low, high in ((0, 8e3), (2e4, 4e4), (8e4, 2e5))
    )
    assert near > 0.2
    assert near > 2.5 * middle
    assert middle > 2 * far
    assert r2[~same].mean() < 0.004  # 1/1500 by chance, and a little structure


def test_draw_chromosomes__components_show_the_ancestry(genetics: Genetics) -> None:
    basis = np.column_stack([np.ones(3000), genetics.components[:, :2]])
    share = genetics.admixture[:, 0]
    residual = np.linalg.lstsq(basis, share, rcond=None)[1][0]
    assert 1 - residual / (3000 * share.var()) > 0.5  # a fifth of the variants; all of them give 0.9


# Traits and codes -----------------------------------------------------------------------------------------------------


def test_draw_traits__planted_variants_explain_what_the_truth_says(genetics: Genetics) -> None:
    for planted, copies in zip(PLANTED, genetics.causal, strict=True):
        assert 0.2 < copies.mean() / 2 <= 0.5
        for name, values in genetics.traits.items():
            explained = np.corrcoef(copies, values)[0, 1] ** 2
            expected = planted.variance_explained if name == planted.trait else 0.0
            # 2 r (1 - r2) / sqrt(n) is the standard error of r2, and 1/n its mean under the null.
            assert explained == pytest.approx(expected, abs=0.04 if expected else 0.006), (planted.gene, name)


def test_draw_traits__imaged_people_have_power_for_the_trait_and_not_for_the_code(genetics: Genetics) -> None:
    icd10 = {trait.name: trait.icd10 for trait in TRAITS}
    by_trait = [chi2(genetics, genetics.traits[p.trait], genetics.causal[[i]])[0] for i, p in enumerate(PLANTED)]
    by_code = [chi2(genetics, genetics.cases[icd10[p.trait]], genetics.causal[[i]])[0] for i, p in enumerate(PLANTED)]
    assert min(by_trait) > 90
    assert sum(value > CHI2_GENOME_WIDE for value in by_code) <= len(PLANTED) // 4


def test_draw_traits__null_chromosomes_carry_nothing(genetics: Genetics) -> None:
    frequency = genetics.null.mean(axis=1) / 2
    variants = genetics.null[frequency > 0.01]
    values = np.array([chi2(genetics, trait, variants, people=3000) for trait in genetics.traits.values()])
    assert values.max() < CHI2_GENOME_WIDE
    assert 0.75 < np.median(values) / 0.4549 < 1.25


def test_draw_sizes__organs_follow_their_causes_weakly(genetics: Genetics) -> None:
    rng = np.random.default_rng(1)
    sex, bmi = genetics.covariates[:, 3], genetics.covariates[:, 4]
    sizes = draw_sizes(rng, genetics.traits, sex=sex, bmi=bmi)
    assert set(sizes) == set(ORGANS)
    assert 0.2 < np.corrcoef(sizes["liver"], genetics.traits["fat_fraction"])[0, 1] < 0.4
    assert abs(np.corrcoef(sizes["heart"], genetics.traits["wall_thickness"])[0, 1]) < 0.2


def test_draw_cases__prevalence_and_spelling(genetics: Genetics) -> None:
    for code in labels.CODES:
        assert genetics.cases[code.icd10].mean() == pytest.approx(code.prevalence, abs=0.015), code.icd10
    unrelated = np.corrcoef([genetics.cases["L40"], *genetics.traits.values()])[0, 1:]
    assert np.abs(unrelated).max() < 0.07
    eids = [str(i) for i in range(3000)]
    rows = labels.write_down(np.random.default_rng(0), eids, genetics.cases)
    written = set(rows["icd10"])
    assert {"K760", "K76.0", "E119", "E11.9", "I10"} <= written
    cases = set(rows.filter(pl.col("icd10").str.starts_with("K76"))["eid"])
    assert cases == {eids[i] for i in np.flatnonzero(genetics.cases["K76"])}
    assert rows.height > rows["eid"].n_unique()


def test_score_genes__planted_gene_is_on_top_in_its_block(cohort: Path) -> None:
    table = pl.read_parquet(cohort / "variant_to_gene.parquet")
    assert table.columns == ["variant_id", "rsid", "gene", "gene_id", "score"]
    counts = table.group_by("variant_id").len()["len"]
    assert (counts.min(), counts.max()) == (1, 3)
    assert table.select("variant_id", "gene").is_duplicated().sum() == 0
    assert table["score"].is_between(0, 1).all()
    maps = [chromosome.variants for chromosome in genotypes.draw_chromosomes(SEED, np.full((50, 3), 1 / 3))]
    variants = pl.concat(maps)  # the map does not depend on the people
    assert variants["rsid"].is_unique().all()
    assert 0.02 < 1 - table["rsid"].n_unique() / variants.height < 0.04
    top = table.sort("score", descending=True).unique("rsid", keep="first")
    owners = variants.join(genes.name_genes(variants), on=["chromosome", "block"], suffix="_block")
    joined = owners.join(top, on="rsid", suffix="_top", how="left")
    assert joined.filter(pl.col("gene_top").is_not_null()).select((pl.col("gene") == pl.col("gene_top")).all()).item()
    assert joined.filter("planted_block")["gene_top"].null_count() == 0


# Anatomy --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_store_as__holds_the_same_anatomy(orientation: str, tmp_path: Path) -> None:
    scan = draw_scan(np.random.default_rng(2), "liver", AVERAGE, 0.0)
    stored = store_as(scan, orientation)
    path = tmp_path / "water.nii.gz"
    path.write_bytes(nifti_bytes(stored.water, stored.affine))
    image = nib.load(path)
    assert "".join(nib.aff2axcodes(image.affine)) == orientation
    assert image.get_data_dtype() == np.int16
    back = nib.as_closest_canonical(image)
    np.testing.assert_array_equal(np.asarray(back.dataobj), scan.water)
    np.testing.assert_allclose(back.affine, scan.affine, atol=1e-3)


def test_store_as__refuses_an_orientation_that_is_none() -> None:
    scan = draw_scan(np.random.default_rng(2), "heart", AVERAGE, 0.0)
    with pytest.raises(ValueError, match="found 'LRS'"):
        store_as(scan, "LRS")


@pytest.mark.parametrize("organ", ORGANS)
def test_draw_scan__organ_lies_inside_and_fits_a_slice(organ: str) -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        scan = draw_scan(rng, organ, {name: rng.normal() for name in AVERAGE}, 2.5 * rng.normal())
        assert scan.fat.shape == scan.water.shape == scan.mask.shape
        assert (scan.fat.dtype, scan.water.dtype) == (np.int16, np.int16)
        inside = np.argwhere(scan.mask)
        assert inside.min() >= 1
        assert (inside.max(axis=0) <= np.array(scan.mask.shape) - 2).all()
        span = np.ptp(inside, axis=0) + 1
        assert span[:2].max() <= MAX_SPAN
        assert 6 <= span[2] <= 14
        assert ndimage.label(scan.mask)[1] == (2 if organ == "kidneys" else 1)
        assert scan.fat[scan.mask == 0].max() > 0  # there is other tissue for the mask to hide


def scaled_channels(organ: str, trait: str, people: int) -> tuple[NDArray[np.float64], list[tuple[NDArray, NDArray]]]:
    """Draw scans of varied traits and size; both channels inside the mask, over their own 99.5th percentile."""
    rng = np.random.default_rng(8)
    values, channels = [], []
    for _ in range(people):
        traits = {name: rng.normal() for name in AVERAGE}
        scan = draw_scan(rng, organ, traits, rng.normal())
        fat, water = (volume[scan.mask > 0].astype(float) for volume in (scan.fat, scan.water))
        channels.append((fat / np.percentile(fat, 99.5), water / np.percentile(water, 99.5)))
        values.append(traits[trait])
    return np.array(values), channels


@pytest.mark.parametrize(
    ("organ", "trait", "feature"),
    [
        ("liver", "fat_fraction", lambda fat, water: np.median(fat)),
        ("kidneys", "cortex_thickness", lambda fat, water: (water > 0.72).mean()),
        ("heart", "wall_thickness", lambda fat, water: ((water > 0.3) & (water < 0.6)).mean()),
    ],
)
def test_draw_scan__trait_shows_after_scaling_by_percentile(organ: str, trait: str, feature) -> None:
    values, channels = scaled_channels(organ, trait, 60)
    seen = [feature(fat, water) for fat, water in channels]
    assert np.corrcoef(values, seen)[0, 1] > 0.75


def test_draw_scan__nodularity_is_texture_and_hardly_moves_the_mean() -> None:
    means, textures = [], []
    for value in (-1.5, 0.0, 1.5):
        scans = [draw_scan(np.random.default_rng(s), "liver", {**AVERAGE, "nodularity": value}, 0.0) for s in range(8)]
        water = [scan.water[scan.mask > 0].astype(float) for scan in scans]  # one seed is one gain, whatever the trait
        means.append(np.mean([values.mean() for values in water]))
        textures.append(np.mean([np.subtract(*np.percentile(values, (75, 25))) / values.mean() for values in water]))
    assert textures[2] > 1.5 * textures[1] > 1.5 * 1.5 * textures[0]
    assert np.ptp(means) < 0.03 * np.mean(means)


def test_draw_phenome__planted_traits_follow_their_causes_and_nulls_nothing(genetics: Genetics) -> None:
    rng = np.random.default_rng(5)
    people = 1200
    causes = {name: values[:people] for name, values in genetics.traits.items()}
    causes |= {name: rng.normal(size=people) for name in ("age", "bmi")} | {"sex": np.arange(people) % 2 * 1.0}
    table, dictionary = phenome.draw_phenome(rng, [str(i) for i in range(people)], causes)
    assert table.columns[1:] == dictionary["trait"].to_list() == list(phenome.phenome_truth())
    assert {"continuous", "binary", "ordinal", "categorical"} == set(dictionary["kind"])
    latent = np.column_stack([causes[trait.name] for trait in TRAITS])
    scan = PhenomeScan(latent, [causes["age"], causes["bmi"], causes["sex"]])
    for trait in phenome.PHENOME:
        column = table[trait.name]
        if trait.labels:
            column = column.replace_strict({v: float(k) for k, v in enumerate(trait.labels)}, return_dtype=pl.Float64)
        found = scan.test(column.fill_null(np.nan).to_numpy(), trait.kind)
        if trait.name in ("apo_e4", "transplant"):
            assert found.reasons[0] is not None
            continue
        for latent_trait, p in zip(TRAITS, found.neg_log_10_p, strict=True):
            assert (p > 8) == (latent_trait.name in trait.weights), (trait.name, latent_trait.name, p)


def test_phecode_map__holds_every_code_as_written() -> None:
    table = phenome.phecode_map(labels.CODES)
    written = {text.replace(".", "") for code in labels.CODES for text in (code.icd10, *code.written)}
    assert set(table["ICD10"].str.replace(".", "", literal=True)) == written
    assert table.filter(ICD10="E11.2")["PheCode"].item() == "250.22"

"""A cohort folder of real scans and real genotypes, joined under made-up eids: what the whole graph is tried on.

100 brain MR crops with hippocampus masks (Medical Segmentation Decathlon) meet 957 people of HapMap 3. Nobody has both,
so the join is a negative control for genetics; codes drawn from hippocampal volume are a positive one for images.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import polars as pl

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
BED = "HM3_thinned_autosomal_overlap"
PCS = 10

COHORT = """\
[cohort]
name = "hippocampus x HapMap 3"
genome_build = "NCBI36"
participants = "participants.csv"
diagnoses = "diagnoses.csv"
scans = "scans.csv"
variant_to_gene = "variant_to_gene.parquet"
[genotypes]
path = "genotypes/hapmap3.bed"
[labels]
codes = ["F03", "J45"]
min_cases = 20
[organs.hippocampus]
channels = ["t1"]
patch = 4
resolution = 48
patch_video = 4
resolution_video = 48
# Where and how widely tokens lie, and how both vary along the organ: a mean over slices forgets how many there are.
[encoders.mae]
pooling = ["cls", "patch_spread"]
pooling_over_items = ["mean", "spread"]
size = "tiny"
decoder_width = 64
decoder_depth = 1
decoder_heads = 4
epochs = {epochs}
warmup_epochs = 2
batch_size = 128
learning_rate = 2e-3
[encoders.video_mae]
pooling = ["cls", "patch_spread"]
pooling_over_items = ["mean", "spread"]
size = "tiny"
decoder_width = 64
decoder_depth = 1
decoder_heads = 4
epochs = {video_epochs}
warmup_epochs = 5
batch_size = 32
learning_rate = 8e-3
[association]
min_mac = 20
# HapMap's founders are 957 people of eleven populations, some of them related: the README's figures are of all of them.
[ancestry]
max_kinship = "none"
"""


def build(folder: Path, *, epochs: int, video_epochs: int, seed: int = 0) -> Path:
    """Write the cohort folder; the scans are read where they lie.

    Covariates: sex as HapMap gives it, genotype PCs from the genotypes; age, BMI, array and centre are made up. Related
    people (HapMap's children of trios) have genotypes in the file but are no participants.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cohort.toml").write_text(COHORT.format(epochs=epochs, video_epochs=video_epochs))
    people = _people()
    eids = [f"9{i:06d}" for i in rng.permutation(len(people))]
    _write_genotypes(folder / "genotypes", eids)
    founders = [i for i, person in enumerate(people) if person["dad"] == "0" and person["mom"] == "0"]
    dosages = _dosages(folder / "genotypes/hapmap3.bed", np.array(founders))
    pcs = principal_components(dosages, PCS)
    participants = pl.DataFrame(
        {
            "eid": [eids[i] for i in founders],
            "age": rng.uniform(45, 80, len(founders)).round(1),
            "sex": [int(people[i]["sex"]) % 2 for i in founders],
            "bmi": rng.normal(27, 4, len(founders)).round(1),
            "genotyping_array": rng.choice(["one", "two"], len(founders)),
            "imaging_centre": rng.choice(["north", "south"], len(founders)),
            "imaging_date": "2020-01-01",
            **{f"pc{k + 1}": pcs[:, k] for k in range(PCS)},
        }
    )
    participants.write_csv(folder / "participants.csv")
    # The first hundred founders in a random order have the scans.
    files = sorted((DATA / "hippocampus_mr/images").glob("*.nii.gz"))
    imaged = [participants["eid"][int(i)] for i in rng.permutation(len(founders))[: len(files)]]
    masks = [DATA / "hippocampus_mr/labels" / file.name for file in files]
    pl.DataFrame(
        {"eid": imaged, "organ": "hippocampus", "mask": list(map(str, masks)), "image_t1": list(map(str, files))}
    ).write_csv(folder / "scans.csv")
    _write_diagnoses(folder, imaged, masks, participants["eid"].to_list(), rng)
    schema = {"variant_id": pl.String, "rsid": pl.String, "gene": pl.String, "gene_id": pl.String, "score": pl.Float64}
    pl.DataFrame(schema=schema).write_parquet(folder / "variant_to_gene.parquet")
    return folder


def _people() -> list[dict[str, str]]:
    """HapMap's people in the order of the .fam, with parents, sex and population."""
    with (DATA / "hapmap3/relationships_w_pops_121708.txt").open() as file:
        known = {row["IID"]: row for row in csv.DictReader(file, delimiter="\t")}
    fam = (DATA / f"hapmap3/{BED}.fam").read_text().splitlines()
    return [known[line.split()[1]] for line in fam]


def populations() -> list[str]:
    """Return the population of every founder, in the order of the .fam."""
    return [person["population"] for person in _people() if person["dad"] == "0" and person["mom"] == "0"]


def _write_genotypes(folder: Path, eids: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    for suffix in (".bed", ".bim"):
        shutil.copyfile(DATA / f"hapmap3/{BED}{suffix}", folder / f"hapmap3{suffix}")
    lines = (DATA / f"hapmap3/{BED}.fam").read_text().splitlines()
    renamed = (f"{eid} {eid} 0 0 {line.split()[4]} -9" for eid, line in zip(eids, lines, strict=True))
    (folder / "hapmap3.fam").write_text("\n".join(renamed) + "\n")


def _dosages(bed: Path, samples: np.ndarray) -> np.ndarray:
    from edp_assets.science.genetics.genotypes import open_genotypes

    with open_genotypes(bed) as genotypes:
        return np.concatenate([block for _, _, block in genotypes.blocks(2048, samples.astype(np.int64))])


def principal_components(dosages: np.ndarray, k: int) -> np.ndarray:
    """Return the first genotype PCs (n_participants, k) of standardised, mean-imputed dosages."""
    frequency = np.nanmean(dosages, axis=1, keepdims=True) / 2
    spread = np.sqrt(2 * frequency * (1 - frequency))
    use = (spread > 0.2).ravel()
    standard = np.nan_to_num((dosages[use] - 2 * frequency[use]) / spread[use])
    values, vectors = np.linalg.eigh(standard.T @ standard)
    return vectors[:, ::-1][:, :k] * np.sqrt(values[::-1][:k] / use.sum())


def _write_diagnoses(
    folder: Path, imaged: list[str], masks: list[Path], everyone: list[str], rng: np.random.Generator
) -> None:
    """F03 (dementia) goes to people with small hippocampi, with noise; J45 (asthma) to anyone."""
    import nibabel

    volumes = np.array([np.count_nonzero(np.asanyarray(nibabel.load(mask).dataobj)) for mask in masks])
    liability = -(volumes - volumes.mean()) / volumes.std() + 0.5 * rng.normal(size=len(volumes))
    demented = [eid for eid, high in zip(imaged, liability > np.quantile(liability, 0.7), strict=True) if high]
    others = set(everyone) - set(imaged)
    demented += [eid for eid in everyone if eid in others and rng.random() < 0.1]
    asthmatic = [eid for eid in everyone if rng.random() < 0.3]
    rows = [(eid, "F03") for eid in demented] + [(eid, "J45.9") for eid in asthmatic]
    pl.DataFrame(rows, schema=["eid", "icd10"], orient="row").write_csv(folder / "diagnoses.csv")

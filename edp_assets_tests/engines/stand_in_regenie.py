"""A stand-in for regenie: takes its documented options alone, reads its inputs, writes files of its documented layout.

Statistics are score tests without whole-genome predictions, as `--ignore-pred` has them; LOCO predictions are 0. What a
test wants of it is in the folder of its executable: `version`, `fail` (a step to fail at), `slow` (seconds).
"""

import argparse
import gzip
import json
import math
import sys
import time
from pathlib import Path

HERE = Path(sys.argv[0]).resolve().parent


def wish(name, default=""):
    path = HERE / name
    return path.read_text().strip() if path.exists() else default


VERSION = wish("version", "v3.4.1.gz")
if sys.argv[1:] == ["--version"]:
    print(VERSION)
    sys.exit(0)


def fail(message):
    print(f"ERROR: {message}", flush=True)
    sys.exit(1)


options = argparse.ArgumentParser(allow_abbrev=False)
for text in ("--bed", "--pgen", "--bgen", "--sample", "--phenoFile", "--covarFile", "--keep", "--pred", "--out",
             "--lowmem-prefix", "--chr"):  # fmt: skip
    options.add_argument(text)
for number in ("--step", "--bsize", "--threads"):
    options.add_argument(number, type=int)
for number in ("--minMAC", "--minINFO", "--pThresh"):
    options.add_argument(number, type=float)
for flag in ("--bt", "--lowmem", "--firth", "--approx", "--spa", "--gz", "--ref-first"):
    options.add_argument(flag, action="store_true")
given = options.parse_args()
with (HERE / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\n")
out, step = Path(given.out), "step1" if given.step == 1 else f"chr{given.chr}"
print(f"Start\n * step: [{step}]", flush=True)
time.sleep(float(wish("slow", "0")))
if sum(x is not None for x in (given.bed, given.pgen, given.bgen)) != 1:
    fail("must use either --bed,--bgen or --pgen.")
if (given.bsize or 0) < 2:
    fail("block size must be at least 2.")
if given.minMAC is not None and given.minMAC < 0.5:
    fail("minimum MAC must be at least 0.5.")
if given.gz and not VERSION.endswith(".gz"):
    print("WARNING: REGENIE was not compiled with Boost Iostream library so ignoring option '--gz'.")
    given.gz = False
for block in range(50):
    print(f" block [{block + 1}] : done (1ms)")


def rows(path, header=True):
    lines = [line.split(" ") for line in Path(path).read_text().splitlines()]
    return lines if header else lines[1:]


path = Path(f"{given.bed}.bed" if given.bed else f"{given.pgen}.pgen" if given.pgen else given.bgen)
if given.bgen:
    people = [tuple(line.split()[:2]) for line in Path(given.sample).read_text().splitlines()[2:]]
elif given.bed:
    people = [tuple(line.split()[:2]) for line in path.with_suffix(".fam").read_text().splitlines()]
else:
    lines = path.with_suffix(".psam").read_text().splitlines()
    people = [tuple(line.split()[:2]) for line in lines if not line.startswith("#")]
place = {pair: i for i, pair in enumerate(people)}
kept = {tuple(pair) for pair in rows(given.keep)}
header, *table = rows(given.phenoFile)
if header[:2] != ["FID", "IID"]:
    fail("header of phenotype file must start with: FID IID.")
phenotypes = {tuple(row[:2]): row[2:] for row in table}
analysed = [pair for pair in people if pair in kept and pair in phenotypes]
covariates = {}
if given.covarFile:
    covariate_header, *table = rows(given.covarFile)
    assert covariate_header[:2] == ["FID", "IID"]
    covariates = {tuple(row[:2]): [float(x) for x in row[2:]] for row in table}
    analysed = [pair for pair in analysed if pair in covariates]
print(f" * number of individuals used in analysis = {len(analysed)}", flush=True)
names = header[2:]
suffix = ".gz" if given.gz else ""


def write(name, lines):
    name = f"{name}{suffix}"
    with gzip.open(name, "wt") if given.gz else open(name, "w") as file:
        file.write("\n".join(lines) + "\n")


if given.step == 1:
    if given.lowmem:
        for name in names:
            Path(f"{given.lowmem_prefix}_l0_{name}").write_text("level 0")
    if wish("fail") == step:
        fail("bad_alloc caught, not enough memory")
    for k in range(1, len(names) + 1):
        ids = " ".join("_".join(pair) for pair in analysed)
        write(f"{out}_{k}.loco", [f"FID_IID {ids}", *(f"{c} {'0 ' * len(analysed)}".strip() for c in range(1, 24))])
    lines = [f"{name} {out.absolute()}_{k}.loco{suffix}" for k, name in enumerate(names, 1)]
    Path(f"{out}_pred.list").write_text("\n".join(lines) + "\n")
    for name in names if given.lowmem else ():
        Path(f"{given.lowmem_prefix}_l0_{name}").unlink()
    sys.exit(0)

predictions = dict(line.split() for line in Path(given.pred).read_text().splitlines())
if set(predictions) != set(names) or not all(Path(file).exists() for file in predictions.values()):
    fail("predictions are not those of the phenotypes.")
import numpy as np  # noqa: E402

if given.bed:  # without the project's reader, which takes a second to import
    bim = [line.split() for line in path.with_suffix(".bim").read_text().splitlines()]
    variants = [(row[0], row[3], row[1], row[4], row[5]) for row in bim]
    bits = np.fromfile(path, np.uint8)[3:].reshape(len(bim), -1, 1) >> np.array([0, 2, 4, 6]) & 3
    G = np.array([2, np.nan, 1, 0])[bits.reshape(len(bim), -1)[:, : len(people)]]
else:
    from edp_assets.science.genetics.genotypes import open_genotypes

    with open_genotypes(path) as file:
        columns = ("chromosome", "base_pair_location", "rsid", "effect_allele", "other_allele")
        variants = file.variants.select(columns).rows()
        G = file.read(0, file.n_variants).astype(float)
mine = [i for i, variant in enumerate(variants) if {"X": "23"}.get(variant[0], variant[0]) == given.chr]
G = G[mine][:, [place[pair] for pair in analysed]]
X = np.column_stack([np.ones(len(analysed)), np.array([covariates.get(pair, []) for pair in analysed])])
Q, _ = np.linalg.qr(X)
extra = "A1FREQ_CASES A1FREQ_CONTROLS " if wish("af_cc") else ""
info = "INFO " if not given.bed else ""
head = f"CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ {extra}{info}N TEST BETA SE CHISQ LOG10P EXTRA"
ignored = 0
for k, name in enumerate(names):
    if wish("fail") == step:
        fail("failed to fit the null model")
    values = [phenotypes[pair][k] for pair in analysed]
    with_value = np.array([value != "NA" for value in values])
    y = np.array([float(value) for value in values if value != "NA"])
    lines = [head]
    q, _ = np.linalg.qr(X[with_value])
    y = y - q @ (q.T @ y)
    for i, g in zip(mine, G[:, with_value], strict=True):
        _, position, rsid, effect, other = variants[i]
        called = ~np.isnan(g)
        frequency, n = g[called].mean() / 2, int(called.sum())
        if min(frequency, 1 - frequency) * 2 * n < (given.minMAC or 5):
            ignored += 1
            continue
        x = np.where(called, g, 2 * frequency)
        x = x - q @ (q.T @ x)
        if rsid == wish("test_fail"):
            tail = "0.1 0.2 NA NA TEST_FAIL"
        else:
            se = math.sqrt((y @ y) / (len(y) - q.shape[1]) / (x @ x))
            beta = (x @ y) / (x @ x)
            chi2 = (beta / se) ** 2
            tail = f"{beta:.6g} {se:.6g} {chi2:.6g} {-math.log10(math.erfc(math.sqrt(chi2 / 2))):.6g} NA"
        more = f"{frequency:.6g} {frequency:.6g} " if extra else ""
        more += "1 " if info else ""
        lines.append(f"{given.chr} {position} {rsid} {other} {effect} {frequency:.6g} {more}{n} ADD {tail}")
    write(f"{out}_{name}.regenie", lines)
    if wish("die_after") == f"{step}_{name}":
        sys.exit(1)
print(f"Number of ignored tests due to low MAC : {ignored}\nEnd", flush=True)

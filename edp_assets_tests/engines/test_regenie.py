"""regenie as an engine, with a stand-in for its executable: command lines, resuming, refusals, failures, results."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from edp_assets.engines.regenie import Trial, associate, check_filters, find_regenie
from edp_assets.engines.steps import EngineError, clean
from edp_assets.science.genetics.genotypes import open_genotypes
from edp_assets.science.genetics.regenie_files import RegenieFileError
from edp_assets.settings import AssociationSettings, RegenieSettings
from edp_assets_tests.engines.installed import calls, install, steps, wish
from edp_assets_tests.science.genetics.bgen_writer import hard_calls, write_bgen

N = 60
IIDS = [f"p{i:02d}" for i in range(N)]
RNG = np.random.default_rng(0)
G = {c: RNG.binomial(2, 0.4, (5, N)).astype(float) for c in ("1", "2", "X")}
Y = RNG.normal(size=(N, 2))
C = RNG.normal(size=(N, 2))
ONE_BLOCK = RegenieSettings(low_memory=False)


def write_bed(path: Path, chromosomes: list[str], fid: str = "f") -> Path:
    """Write a PLINK 1 fileset of the chromosomes' variants, FID other than IID."""
    dosages = np.concatenate([G[c] for c in chromosomes])
    codes = np.select([dosages == 2, dosages == 1], [0, 2], 3)
    packed = codes.reshape(len(codes), -1, 4) @ np.array([1, 4, 16, 64], dtype=np.uint8)
    path.write_bytes(b"\x6c\x1b\x01" + packed.astype(np.uint8).tobytes())
    path.with_suffix(".bim").write_text(
        "".join(f"{c.replace('X', '23')} rs{c}_{i} 0 {5_000_000 + i} A G\n" for c in chromosomes for i in range(5))
    )
    path.with_suffix(".fam").write_text("".join(f"{fid}{iid} {iid} 0 0 2 -9\n" for iid in IIDS))
    return path


def trial(genotypes: dict[str, Path], **changes: object) -> Trial:
    """Two phenotypes in all people but the first three, in another order than the files'."""
    order = list(range(N))[:2:-1]
    iids = pl.Series("IID", [IIDS[i] for i in order])
    phenotypes = pl.DataFrame([iids, pl.Series("a/b c", Y[order, 0]), pl.Series("second", Y[order, 1])])
    covariates = pl.DataFrame([iids, pl.Series("c1", C[order, 0]), pl.Series("c2", C[order, 1])])
    return replace(Trial(genotypes, phenotypes, covariates), **changes)


def run(path: Path, asked: Trial, folder: Path, settings: RegenieSettings = ONE_BLOCK) -> dict[str, pl.DataFrame]:
    found = associate(find_regenie(path), asked, settings, folder, lambda _: None)
    return {result.phenotype: pl.concat(list(result.frames)) for result in found}


@pytest.fixture
def executable(tmp_path: Path) -> Path:
    return install(tmp_path / "bin")


@pytest.fixture
def bed(tmp_path: Path) -> Path:
    return write_bed(tmp_path / "all.bed", ["1", "2"])


def test_associate__command_lines_of_a_quantitative_trait(tmp_path: Path, executable: Path, bed: Path) -> None:
    work = tmp_path / "work"
    run(executable, trial({"all": bed}, min_mac=20), work, RegenieSettings(threads=3))
    inputs = ["--keep", f"{work}/keep.txt", "--phenoFile", f"{work}/phenotypes.txt",
              "--covarFile", f"{work}/covariates.txt"]  # fmt: skip
    step2 = ["--step", "2", "--bed", str(bed)[:-4], *inputs, "--pred", f"{work}/step1_pred.list"]
    assert calls(executable) == [
        ["--step", "1", "--bed", str(bed)[:-4], *inputs, "--bsize", "1000", "--out", f"{work}/step1", "--threads", "3",
         "--gz", "--lowmem", "--lowmem-prefix", f"{work}/step1_tmp"],
        *([*step2, "--chr", c, "--minMAC", "20", "--out", f"{work}/chr{c}", "--bsize", "400", "--threads", "3", "--gz"]
          for c in ("1", "2")),
    ]  # fmt: skip
    assert not list(work.glob("step1_tmp*"))
    lines = (work / "phenotypes.txt").read_text().splitlines()
    assert lines[0] == "FID IID Y1 Y2"  # a name of the user's would become part of a file's
    assert lines[1].split() == ["fp59", "p59", repr(float(Y[59, 0])), repr(float(Y[59, 1]))]


@pytest.mark.parametrize(
    ("settings", "test"),
    [
        (RegenieSettings(low_memory=False), ["--firth", "--approx", "--pThresh", "0.05"]),
        (RegenieSettings(low_memory=False, correction="spa", correction_max_p=0.01), ["--spa", "--pThresh", "0.01"]),
    ],
)
def test_associate__command_lines_of_a_binary_trait_in_a_bgen_with_sample(
    tmp_path: Path, executable: Path, settings: RegenieSettings, test: list[str]
) -> None:
    wish(executable, version="v4.0", af_cc="yes")  # built without Boost: no --gz
    bgen = write_bgen(tmp_path / "a.bgen", hard_calls(G["1"]), IIDS)
    sample = bgen.with_suffix(".sample")
    sample.write_text("ID_1 ID_2 missing sex\n0 0 0 D\n" + "".join(f"F{iid} {iid} 0 2\n" for iid in IIDS))
    work, case = tmp_path / "work", pl.DataFrame({"IID": IIDS, "K76": (np.arange(N) % 3 == 0).astype(float)})
    asked = trial(
        {"1": bgen}, phenotypes=case, covariates=pl.DataFrame({"IID": IIDS}), binary=True, step1_genotypes=bgen,
        min_info=0.8,
    )  # fmt: skip
    found = run(executable, asked, work, settings)
    source = ["--bgen", str(bgen), "--sample", str(sample), "--ref-first"]
    inputs = ["--keep", f"{work}/keep.txt", "--phenoFile", f"{work}/phenotypes.txt", "--bt"]  # no covariates
    assert calls(executable) == [
        ["--step", "1", *source, *inputs, "--bsize", "1000", "--out", f"{work}/step1"],
        ["--step", "2", *source, *inputs, "--pred", f"{work}/step1_pred.list", "--chr", "1", *test, "--minMAC", "5",
         "--minINFO", "0.8", "--out", f"{work}/chr1", "--bsize", "400"],
    ]  # fmt: skip
    assert (work / "phenotypes.txt").read_text().splitlines()[1] == "Fp00 p00 1.0"
    with open_genotypes(bgen) as file:  # --ref-first: the effect allele is the second one, as here
        assert found["K76"]["effect_allele"].to_list() == file.variants["effect_allele"].to_list()


def test_associate__a_bgen_without_sample_gets_one(tmp_path: Path, executable: Path) -> None:
    bgen = write_bgen(tmp_path / "a.bgen", hard_calls(G["1"]), IIDS)
    found = run(executable, trial({"all": bgen}), tmp_path / "work")
    assert calls(executable)[0][4:6] == ["--sample", str(tmp_path / "work/0.sample")]
    assert found["second"]["n"].unique().to_list() == [N - 3]


def test_associate__one_file_a_chromosome_with_the_file_of_step_1(tmp_path: Path, executable: Path) -> None:
    chromosomes = {c: write_bed(tmp_path / f"chr{c}.bed", [c]) for c in ("1", "2", "X")}
    chromosomes["MT"] = tmp_path / "not opened.bed"
    with pytest.raises(EngineError, match=r"takes one genotype file.*found 4 files.*step1_genotypes = \"array.bed\""):
        run(executable, trial(chromosomes), tmp_path / "work")
    array = write_bed(tmp_path / "array.bed", ["1", "2"])
    told: list[str] = []
    asked = trial(chromosomes, step1_genotypes=array)
    results = associate(find_regenie(executable), asked, ONE_BLOCK, tmp_path / "work", told.append)
    found = {result.phenotype: pl.concat(list(result.frames)) for result in results}
    assert [call[3] for call in calls(executable)] == [
        str(tmp_path / name) for name in ("array", "chr1", "chr2", "chrX")
    ]
    assert steps(executable) == ["1", "2 1", "2 2", "2 23"]
    assert found["a/b c"]["chromosome"].unique(maintain_order=True).to_list() == ["1", "2", "X"]
    assert "regenie has no chromosome MT: left out" in told


def test_associate__gives_each_phenotype_its_statistics(tmp_path: Path, executable: Path, bed: Path) -> None:
    import statsmodels.api as sm

    missing = np.zeros(N - 3, dtype=bool)
    missing[[4, 9]] = True
    asked = trial({"all": bed})
    with_gaps = asked.phenotypes.with_columns(
        pl.Series("second", np.where(missing, np.nan, asked.phenotypes["second"]))
    )
    found = run(executable, replace(asked, phenotypes=with_gaps), tmp_path / "work")
    assert list(found) == ["a/b c", "second"]
    rows = np.arange(N)[:2:-1]
    for (name, frame), y, left in zip(found.items(), Y.T, (~np.zeros_like(missing), ~missing), strict=True):
        people = rows[left]
        assert frame["rsid"].to_list() == [f"rs{c}_{i}" for c in ("1", "2") for i in range(5)], name
        for variant, g in zip(frame.iter_rows(named=True), np.concatenate([G["1"], G["2"]]), strict=True):
            design = sm.add_constant(np.column_stack([g[people], C[people]]))
            assert variant["beta"] == pytest.approx(sm.OLS(y[people], design).fit().params[1], rel=1e-5)
            assert variant["effect_allele_frequency"] == pytest.approx(g[people].mean() / 2, rel=1e-5)
            assert (variant["effect_allele"], variant["n"]) == ("A", len(people))


def test_associate__no_least_allele_count_is_the_least_that_regenie_takes(
    tmp_path: Path, executable: Path, bed: Path
) -> None:
    assert run(executable, trial({"all": bed}, min_mac=0), tmp_path / "work")["second"].height == 10
    call = calls(executable)[1]
    assert call[call.index("--minMAC") + 1] == "0.5"


def test_associate__does_nothing_twice(tmp_path: Path, executable: Path, bed: Path) -> None:
    work, told = tmp_path / "work", []
    first = run(executable, trial({"all": bed}), work)
    results = associate(find_regenie(executable), trial({"all": bed}), RegenieSettings(threads=2), work, told.append)
    again = {result.phenotype: pl.concat(list(result.frames)) for result in results}
    assert steps(executable) == ["1", "2 1", "2 2"]  # neither threads nor memory are reasons to do it again
    assert all(again[name].equals(first[name]) for name in first)
    assert [line for line in told if line.endswith("done before")] == [
        f"regenie {step}: done before" for step in ("step1", "chr1", "chr2")
    ]


@pytest.mark.parametrize("at", ["step1", "chr1", "chr2"])
def test_associate__goes_on_after_a_failure_where_it_stopped(
    tmp_path: Path, executable: Path, bed: Path, at: str
) -> None:
    work = tmp_path / "work"
    wish(executable, fail=at)
    with pytest.raises(EngineError, match=f"(?s)regenie {at} failed .exit status 1.*{at}.output.log, ends:.*ERROR: "):
        run(executable, trial({"all": bed}), work)
    wish(executable, fail="")
    found = run(executable, trial({"all": bed}), work)
    order = ["1", "2 1", "2 2"]
    place = ["step1", "chr1", "chr2"].index(at)
    assert steps(executable) == [*order[: place + 1], *order[place:]]
    assert found["second"].height == 10
    assert not list(work.glob("step1_tmp*"))  # of a failed step 1 they would stay


def test_associate__a_step_that_died_on_its_outputs_is_done_again(tmp_path: Path, executable: Path, bed: Path) -> None:
    wish(executable, die_after="chr1_Y1")  # one phenotype's file is whole, the other's not there
    with pytest.raises(EngineError, match="chr1 failed"):
        run(executable, trial({"all": bed}), tmp_path / "work")
    wish(executable, die_after="")
    assert run(executable, trial({"all": bed}), tmp_path / "work")["second"].height == 10
    assert steps(executable) == ["1", "2 1", "2 1", "2 2"]


@pytest.mark.parametrize(
    ("damaged", "again"),
    [
        ("step1_2.loco.gz", ["1"]),  # the same predictions come out, so that step 2 stands
        ("step1_pred.list", ["1"]),
        ("chr1_Y2.regenie.gz", ["2 1"]),
        ("chr2.done", ["2 2"]),
    ],
)
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_associate__what_is_not_whole_is_done_again(
    tmp_path: Path, executable: Path, bed: Path, damaged: str, again: list[str], how: str
) -> None:
    work = tmp_path / "work"
    run(executable, trial({"all": bed}), work)
    path = work / damaged
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        path.unlink()
    assert run(executable, trial({"all": bed}), work)["second"].height == 10
    assert steps(executable)[3:] == again


def test_associate__other_inputs_are_another_run(tmp_path: Path, executable: Path, bed: Path) -> None:
    work, asked = tmp_path / "work", trial({"all": bed})
    run(executable, asked, work)
    whole = ["1", "2 1", "2 2"]
    changed = asked.phenotypes.with_columns(pl.col("second") + 1)
    fewer = replace(asked, phenotypes=asked.phenotypes.head(50))
    done = 3
    for other, settings, again in (
        (replace(asked, phenotypes=changed), ONE_BLOCK, whole),
        (fewer, ONE_BLOCK, whole),
        (fewer, RegenieSettings(low_memory=False, step1_block_size=2), whole),
        (replace(fewer, min_mac=9), RegenieSettings(low_memory=False, step1_block_size=2), whole[1:]),
    ):
        run(executable, other, work, settings)
        assert steps(executable)[done:] == again
        done += len(again)
    os.utime(bed, ns=(1, 1))
    run(executable, fewer, work)
    assert steps(executable)[done:] == whole
    wish(executable, version="v4.1.gz")
    run(executable, fewer, work)
    assert steps(executable)[done + 3 :] == whole


KILLED = """
import sys, pathlib
sys.path.insert(0, {root!r})
from edp_assets_tests.engines.test_regenie import ONE_BLOCK, find_regenie, associate, trial
bed, work, path = map(pathlib.Path, sys.argv[1:])
associate(find_regenie(path), trial({{"all": bed}}), ONE_BLOCK, work, lambda line: print(line, flush=True))
"""


def test_associate__a_killed_run_is_gone_on_with_once_its_regenie_has_ended(
    tmp_path: Path, executable: Path, bed: Path
) -> None:
    work = tmp_path / "work"
    run(executable, trial({"all": bed}), work)
    (work / "chr2.done").unlink()
    wish(executable, slow=2)
    code = KILLED.format(root=str(Path(__file__).resolve().parents[2]))
    command = [sys.executable, "-c", code, str(bed), str(work), str(executable)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "* step: [chr2]" in line:
                break
        process.send_signal(signal.SIGKILL)
    with pytest.raises(EngineError, match=r"a regenie is at work in .*, perhaps of a killed run"):
        run(executable, trial({"all": bed}), work)
    wish(executable, slow=0)
    for _ in range(100):
        try:
            found = run(executable, trial({"all": bed}), work)
            break
        except EngineError:
            time.sleep(0.1)
    assert found["second"].height == 10
    assert set(steps(executable)[3:]) == {"2 2"}


def test_clean__leaves_logs_alone(tmp_path: Path, executable: Path, bed: Path) -> None:
    run(executable, trial({"all": bed}), tmp_path / "work")
    clean(tmp_path / "work")
    left = {path.name for path in (tmp_path / "work").iterdir()}
    assert left == {f"{step}.output.log" for step in ("step1", "chr1", "chr2")}
    assert "number of individuals used in analysis = 57" in (tmp_path / "work/step1.output.log").read_text()


def test_associate__progress_has_few_of_the_lines_on_blocks(tmp_path: Path, executable: Path, bed: Path) -> None:
    told: list[str] = []
    associate(find_regenie(executable), trial({"all": bed}), ONE_BLOCK, tmp_path / "work", told.append)
    blocks = [line for line in told if "block [" in line]
    assert 1 <= len(blocks) <= 3  # of 150
    assert "regenie chr1: * number of individuals used in analysis = 57" in told
    assert (tmp_path / "work/chr1.output.log").read_text().count("block [") == 50


def test_associate__unwritten_results_are_told(tmp_path: Path, bed: Path) -> None:
    path = tmp_path / "regenie"
    path.write_text('#!/bin/sh\n[ "$1" = --version ] && echo v3.4.1\nexit 0\n')
    path.chmod(0o755)
    with pytest.raises(EngineError, match=r"step1 ended well but left 3 of 3 files unwritten \(step1_pred.list\)"):
        run(path, trial({"all": bed}), tmp_path / "work")


def test_associate__results_that_are_cut_off_after_the_run_are_refused(
    tmp_path: Path, executable: Path, bed: Path
) -> None:
    work = tmp_path / "work"
    results = associate(find_regenie(executable), trial({"all": bed}), ONE_BLOCK, work, lambda _: None)
    damaged = work / "chr2_Y1.regenie.gz"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(RegenieFileError, match=r"chr2_Y1.regenie.gz is cut off or damaged"):
        list(results[0].frames)


def test_find_regenie__the_one_on_path_else_a_clear_message(
    tmp_path: Path, executable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_regenie(executable).version == "v3.4.1.gz"
    monkeypatch.setenv("PATH", str(executable.parent))
    assert find_regenie().path == executable
    assert find_regenie("regenie").path == executable
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(EngineError, match=r'3\.0 or later: no `regenie` is on PATH.*engine = "projection"'):
        find_regenie()
    with pytest.raises(EngineError, match=r"none is not an executable file"):
        find_regenie(tmp_path / "none")
    executable.chmod(0o644)
    with pytest.raises(EngineError, match=r"bin/regenie is not an executable file"):
        find_regenie(executable)


@pytest.mark.parametrize("version", ["v3.0", "v3.2.5.3.gz", "v4.1.gz", "v10.0"])
def test_find_regenie__takes_later_versions(executable: Path, version: str) -> None:
    wish(executable, version=version)
    found = find_regenie(executable)
    assert (found.version, found.compresses) == (version, version.endswith(".gz"))


def test_find_regenie__refuses_older_versions_and_other_programs(executable: Path) -> None:
    for version in ("v2.2.4.gz", "v1.0.6.7"):
        wish(executable, version=version)
        with pytest.raises(EngineError, match=rf"is regenie {version}: wanted 3\.0 or later"):
            find_regenie(executable)
    wish(executable, version="usage: something else")
    with pytest.raises(EngineError, match=r"wanted regenie's version, such as v3.4.1, found 'usage: something else'"):
        find_regenie(executable)


def test_associate__people_that_do_not_match_are_told(tmp_path: Path, executable: Path, bed: Path) -> None:
    asked, work = trial({"all": bed}), tmp_path / "work"
    stranger = asked.phenotypes.with_columns(pl.col("IID").replace("p07", "q07"))
    for changes, told in (
        ({"phenotypes": stranger}, r"covariates: wanted a number for each of the 57 people .* 1 lack one .first: q07."),
        ({"covariates": asked.covariates.with_columns(c1=pl.lit(float("nan")))}, r"57 lack one"),
        ({"covariates": asked.covariates.with_columns(c1=pl.lit("a"))}, r"covariates: wanted numbers, c1 holds none"),
        ({"phenotypes": pl.concat([asked.phenotypes] * 2)}, "phenotypes: wanted IID as the first column, each once"),
        (
            {"phenotypes": stranger, "covariates": asked.covariates.with_columns(stranger["IID"])},
            r"all.bed: 1 of 57 people of the association are not in it .first: q07.",
        ),
        ({"step1_genotypes": write_bed(tmp_path / "o.bed", ["1"], "g")}, r"57 people have another FID than in .*o.bed"),
    ):
        with pytest.raises(ValueError, match=told):
            run(executable, replace(asked, **changes), work)
    assert calls(executable) == []


def test_associate__binary_traits_that_regenie_would_ignore_are_told(
    tmp_path: Path, executable: Path, bed: Path
) -> None:
    asked = trial({"all": bed}, binary=True)
    with pytest.raises(ValueError, match="a/b c: wanted 0 for controls and 1 for cases, found"):
        run(executable, asked, tmp_path / "work")
    few = asked.phenotypes.select("IID", K76=pl.Series(np.arange(N - 3) < 9).cast(pl.Float64))
    with pytest.raises(ValueError, match="K76: 9 cases, 48 controls; regenie wants at least 10 of each"):
        run(executable, replace(asked, phenotypes=few), tmp_path / "work")


def test_associate__one_file_with_a_chromosome_unknown_to_regenie_is_refused(tmp_path: Path, executable: Path) -> None:
    bed = write_bed(tmp_path / "all.bed", ["1", "2"])
    bim = bed.with_suffix(".bim")
    bim.write_text(bim.read_text().replace("\n2 rs", "\n24 rs"))
    with pytest.raises(ValueError, match=r"chromosomes 1 to 22 and X alone, which regenie knows, found also Y; write"):
        run(executable, trial({"all": bed}), tmp_path / "work")


def test_associate__a_folder_that_regenie_could_not_name_is_refused(
    tmp_path: Path, executable: Path, bed: Path
) -> None:
    with pytest.raises(ValueError, match=r"a b: regenie's list of predictions takes no white space in a path"):
        run(executable, trial({"all": bed}), tmp_path / "a b")


def test_check_filters__hardy_weinberg_is_not_regenie_s() -> None:
    check_filters(AssociationSettings())
    with pytest.raises(ValueError, match="min_hwe_p = 1e-06: regenie has no such filter; set it to 0"):
        check_filters(AssociationSettings(min_hwe_p=1e-6))

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

DATA = Path(__file__).resolve().parents[3] / "../shared/data"


def public_data(name: str) -> Path:
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"no public data in ../shared/data/{name}")
    return folder


@pytest.fixture(scope="session")
def regenie() -> Path:
    return public_data("regenie")


@pytest.fixture(scope="session")
def hapmap3() -> Path:
    return public_data("hapmap3")


@pytest.fixture(scope="session")
def regenie_tables(regenie: Path) -> dict[str, pl.DataFrame]:
    files = {"phenotype": "phenotype.txt", "binary": "phenotype_bin.txt", "covariates": "covariates.txt"}
    return {name: pl.read_csv(regenie / file, separator=" ") for name, file in files.items()}


WriteBed = Callable[..., Path]


@pytest.fixture
def write_bed(tmp_path: Path) -> WriteBed:
    """Writes a PLINK 1 fileset of dosages (n_variants, n_participants): 0, 1, 2 copies of A1, NaN missing."""

    def write(G: NDArray, delimiter: str = "\t", name: str = "tiny") -> Path:
        n_variants, n = G.shape
        codes = np.full((n_variants, -(-n // 4) * 4), 0, dtype=np.uint8)
        codes[:, :n] = np.select([np.isnan(G), G == 2, G == 1], [1, 0, 2], 3)
        packed = codes.reshape(n_variants, -1, 4) @ np.array([1, 4, 16, 64], dtype=np.uint8)
        path = tmp_path / f"{name}.bed"
        path.write_bytes(b"\x6c\x1b\x01" + packed.astype(np.uint8).tobytes())
        bim = [delimiter.join(["1", f"rs{i}", "0", str(100 * i), "A", "G"]) for i in range(n_variants)]
        fam = [delimiter.join([f"f{i}", f"p{i}", "0", "0", "1", "-9"]) for i in range(n)]
        path.with_suffix(".bim").write_text("\n".join(bim) + "\n")
        path.with_suffix(".fam").write_text("\n".join(fam) + "\n")
        return path

    return write


@pytest.fixture(scope="session")
def open_targets_v2g() -> Path:
    (file,) = public_data("open_targets_v2g").glob("v2g.rs1421085.*.tsv.gz")
    return file

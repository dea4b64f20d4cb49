"""regenie's whole-genome predictions that leave one chromosome out (step 1's _pred.list and .loco files), read.

What is done with them, an offset of the phenotype, is `per_phenotype.py`.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from edp_assets.science.genetics.plink_tables import CHROMOSOME_NAMES


class LocoError(ValueError):
    """A list of predictions, or a file of them, that is not as regenie writes them."""


def read_prediction_list(path: Path) -> dict[str, Path]:
    """Read regenie's `_pred.list`: a phenotype and its .loco file a line, blank delimited.

    A relative path is from the working directory, as regenie takes it, else from the list's folder.

    Returns:
        The .loco file of each phenotype.

    Raises:
        LocoError: the list or a file is missing, a line has not two fields, or a phenotype occurs twice.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise LocoError(f"{path}: {error.strerror}; wanted regenie step 1's _pred.list") from None
    found: dict[str, Path] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, _, file = line.strip().partition(" ")
        file = file.strip()
        if not file:
            raise LocoError(f"{path}, line {number}: wanted a phenotype and its .loco file, found {line.strip()!r}")
        if name in found:
            raise LocoError(f"{path}, line {number}: phenotype {name} a second time; leave one line of each")
        places = [Path(file), path.parent / file, path.parent / Path(file).name]
        there = next((place for place in places if place.is_file()), None)
        if there is None:
            raise LocoError(f"{path}, line {number}: {file} is missing; regenie step 1 writes it beside the list")
        found[name] = there
    return found


class LocoFile:
    """A .loco file: a head of FID_IID and people, then a row of predictions a chromosome (.gz as well).

    Rows are read when asked for: a file of a biobank holds some ten million numbers.

    Attributes:
        path: the file.
        chromosomes: those with a row: 1 ... 22, X.
    """

    def __init__(self, path: Path) -> None:
        """Find the people and rows; raises LocoError where the head is not FID_IID or a row is of another length."""
        self.path = Path(path)
        self._starts: dict[str, int] = {}
        with self._open() as file:
            head = file.readline().decode().split()
            if not head or head[0] != "FID_IID":
                found = head[0] if head else "an empty file"
                raise LocoError(f"{path}: wanted a head that begins with FID_IID, found {found}")
            self._place = {name: i for i, name in enumerate(head[1:])}
            if len(self._place) != len(head) - 1:
                raise LocoError(f"{path}: people occur more than once in its head; each must occur once")
            while True:
                start = file.tell()
                line = file.readline()
                if not line:
                    break
                if not line.strip():
                    continue
                fields = len(line.split())
                if fields != len(head):
                    raise LocoError(
                        f"{path}: the row that begins at byte {start} has {fields} fields, the head {len(head)}"
                    )
                name = line.split(None, 1)[0].decode()
                self._starts[CHROMOSOME_NAMES.get(name.upper(), name)] = start
        self.chromosomes = list(self._starts)

    def _open(self) -> BinaryIO | gzip.GzipFile:
        try:
            return gzip.open(self.path) if self.path.suffix == ".gz" else self.path.open("rb")
        except OSError as error:
            raise LocoError(f"{self.path}: {error.strerror}") from None

    def places(self, fids: Sequence[str], iids: Sequence[str]) -> NDArray[np.int64]:
        """Return where people stand in a row, (n_participants,), -1 for those without a prediction.

        Found by FID_IID; where the family is not known to be that of regenie's run, by IID_IID, 0_IID or IID alone.
        """
        found = [
            next((self._place[name] for name in (f"{f}_{i}", f"{i}_{i}", f"0_{i}", i) if name in self._place), -1)
            for f, i in zip(fids, iids, strict=True)
        ]
        return np.array(found, dtype=np.int64)

    def offsets(self, chromosome: str, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the predictions from all chromosomes but this, (n_participants,); NaN where NA.

        Args:
            chromosome: 1 ... 22, X.
            places: from `places`, none -1.

        Raises:
            LocoError: no row for the chromosome, or a value that is no number.
        """
        if chromosome not in self._starts:
            raise LocoError(
                f"{self.path} has no row for chromosome {chromosome}; it has {', '.join(self.chromosomes)}. Run "
                "regenie step 1 again, or leave that chromosome out"
            )
        with self._open() as file:
            file.seek(self._starts[chromosome])
            fields = file.readline().split()[1:]
        try:
            row = np.array([b"nan" if field == b"NA" else field for field in fields]).astype(np.float64)
        except ValueError as error:
            raise LocoError(f"{self.path}, chromosome {chromosome}: {error}") from None
        return np.asarray(row[places])

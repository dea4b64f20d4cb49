"""The text files beside genotypes: .bim and .pvar (variants), .fam, .psam and .sample (participants), errors by line.

Reading of the genotypes themselves is in `genotypes.py`.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

CHROMOSOME_NAMES = {
    **{f"{n:02d}": str(n) for n in range(1, 10)},
    "23": "X", "24": "Y", "25": "X", "26": "MT",  # PLINK's codes; 25 is the pseudo-autosomal part of X
    "X": "X", "Y": "Y", "MT": "MT", "XY": "X", "PAR1": "X", "PAR2": "X", "M": "MT", "0X": "X", "0Y": "Y",
}  # fmt: skip
"""Other spellings of a chromosome and the one used here (upper case, "chr" taken off)."""


class GenotypeError(ValueError):
    """A genotype file, or a text file beside it, that cannot be read as what it should be."""


def normalise_chromosome(column: pl.Expr) -> pl.Expr:
    """Return the chromosome as 1 ... 22, X, Y, MT; contigs of other names stay as they are, less a "chr" in front."""
    bare = column.cast(pl.String).str.replace(r"(?i)^chr", "")
    return bare.str.to_uppercase().replace_strict(CHROMOSOME_NAMES, default=bare)


def read_bim(path: Path) -> pl.DataFrame:
    """Read the variants of a PLINK 1 .bim, tab or space delimited; the effect allele is A1, the fifth column.

    Returns:
        chromosome, base_pair_location (1-based), rsid (null for "."), effect_allele, other_allele; a row a variant.

    Raises:
        GenotypeError: the file is missing, or a line has not six fields or no whole number as its position.
    """
    rows = _fields(_lines(path), 6, 6, "chromosome, rsid, centimorgan, position, A1, A2", path)
    return _variants(rows, path, chromosome=0, position=3, rsid=1, effect=4, other=5)


def read_fam(path: Path) -> list[str]:
    """Read the IIDs of a PLINK 1 .fam, in its order; raises GenotypeError for malformed lines and repeated IIDs."""
    rows = _fields(_lines(path), 6, 6, "FID, IID, father, mother, sex, phenotype", path)
    return unique_iids(rows["f1"], path)


def read_pvar(path: Path) -> pl.DataFrame:
    """Read the variants of a PLINK 2 .pvar; the effect allele is ALT. Same columns as `read_bim`.

    Raises:
        GenotypeError: as `read_bim`, and for variants of several ALT alleles.
    """
    lines = _lines(path)
    has_header = lines.filter(pl.col("text").str.starts_with("#CHROM")).height > 0
    lines = lines.filter(~pl.col("text").str.starts_with("#"))
    if has_header:
        rows = _fields(lines, 5, None, "CHROM, POS, ID, REF, ALT", path)
        variants = _variants(rows, path, chromosome=0, position=1, rsid=2, effect=4, other=3)
    else:  # PLINK 2 takes a .pvar without a header as a .bim
        rows = _fields(lines, 6, 6, "chromosome, rsid, centimorgan, position, ALT, REF (a .pvar without header)", path)
        variants = _variants(rows, path, chromosome=0, position=3, rsid=1, effect=4, other=5)
    several = rows.filter(variants["effect_allele"].str.contains(",", literal=True))
    if several.height:
        raise GenotypeError(
            f"{path}: {several.height} variants have several ALT alleles, the first on line {several['line'][0]}; "
            "split them with plink2 --make-pgen multiallelics=- (or vcf import after bcftools norm -m-)"
        )
    return variants


def read_psam(path: Path) -> list[str]:
    """Read the IIDs of a PLINK 2 .psam, in its order; raises GenotypeError for malformed lines and repeated IIDs."""
    return unique_iids(_people(path)["IID"], path)


def read_sex_column(path: Path) -> list[int | None]:
    """Read SEX of a .fam or .psam, in its order: 1 male (written 1 or M), 0 female (2 or F), None for all else."""
    people = _people(path)
    if "SEX" not in people.columns:
        return [None] * people.height
    codes = {"1": 1, "M": 1, "2": 0, "F": 0}
    return [codes.get(value.upper()) for value in people["SEX"]]


def _people(path: Path) -> pl.DataFrame:
    """Return the fields of a .psam, or of a .fam, under their names."""
    lines = _lines(path)
    header = lines.filter(pl.col("text").str.contains(r"^#(FID|IID)\b"))
    lines = lines.filter(~pl.col("text").str.starts_with("#"))
    if not header.height:  # PLINK 2 takes a .psam without a header as a .fam
        kind = "" if path.suffix == ".fam" else " (a .psam without header)"
        rows = _fields(lines, 6, 6, f"FID, IID, father, mother, sex, phenotype{kind}", path)
        return rows.select(IID="f1", SEX="f4")
    names = header["text"][0].lstrip("#").split()
    if "IID" not in names:
        raise GenotypeError(f"{path}, line {header['line'][0]}: the header names no IID; found {' '.join(names)}")
    rows = _fields(lines, len(names), len(names), ", ".join(names), path)
    return rows.select(**{name: f"f{names.index(name)}" for name in ("IID", "SEX") if name in names})


def read_sample(path: Path) -> list[str]:
    """Read the ids of an Oxford .sample, in its order: ID_2 where its head names that second, else the first column.

    Raises:
        GenotypeError: the two lines of head are missing, a line has another number of fields, or an id is repeated.
    """
    lines = _lines(path)
    head = [text.split() for text in lines["text"].head(2)]
    wanted = "ID_1 ID_2 missing ..., then a line of types that begins with 0"
    if len(head) < 2 or head[1][0] != "0":
        found = " / ".join(lines["text"].head(2)) or "an empty file"
        raise GenotypeError(f"{path}: wanted two lines of head ({wanted}), found {found}")
    names = head[0]
    rows = _fields(lines, len(names), len(names), " ".join(names), path)[2:]
    return unique_iids(rows["f1" if len(names) > 1 and names[1].upper() == "ID_2" else "f0"], path)


def _lines(path: Path) -> pl.DataFrame:
    """Return `line` (from 1) and `text` of the lines that are not empty, blanks at the ends taken off."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        packed = path.with_name(path.name + ".zst")
        hint = f"; unpack {packed.name} with zstd -d" if packed.exists() else ""
        raise GenotypeError(f"{path} is missing; it must stand beside the genotypes{hint}") from None
    except UnicodeDecodeError as error:
        raise GenotypeError(f"{path} is not text: byte {error.start} is not UTF-8") from None
    lines = pl.DataFrame({"text": [text]}).select(pl.col("text").str.split("\n").explode().str.strip_chars(" \t\r"))
    return lines.with_row_index("line", offset=1).filter(pl.col("text") != "")


def _fields(lines: pl.DataFrame, least: int, most: int | None, wanted: str, path: Path) -> pl.DataFrame:
    """Split lines at blanks into `line`, `f0` ... ; the first line without `least` to `most` fields raises."""
    if not lines.height:
        raise GenotypeError(f"{path} is empty; wanted lines of {wanted}")
    # One field more than the most takes up the rest, which shows a line that is too long.
    width = (most or least) + 1
    split = pl.col("text").str.replace_all(r"[ \t]+", "\t").str.splitn("\t", width).struct.rename_fields(
        [f"f{i}" for i in range(width)]
    )  # fmt: skip
    rows = lines.with_columns(split.alias("fields")).unnest("fields")
    bad = pl.col(f"f{least - 1}").is_null()
    if most is not None:
        bad = bad | pl.col(f"f{most}").is_not_null()
    wrong = rows.filter(bad)
    if wrong.height:
        found = len(wrong["text"][0].split())
        raise GenotypeError(
            f"{path}, line {wrong['line'][0]}: wanted {'' if most else 'at least '}{least} fields ({wanted}), "
            f"found {found}; {wrong.height} such lines"
        )
    return rows.drop("text")


def _variants(
    rows: pl.DataFrame, path: Path, *, chromosome: int, position: int, rsid: int, effect: int, other: int
) -> pl.DataFrame:
    """Pick the five columns of a variant table from `f0`, `f1`, ...; a position that is no whole number raises."""
    variants = rows.select(
        normalise_chromosome(pl.col(f"f{chromosome}")).alias("chromosome"),
        pl.col(f"f{position}").cast(pl.Int64, strict=False).alias("base_pair_location"),
        pl.col(f"f{rsid}").replace(".", None).alias("rsid"),
        pl.col(f"f{effect}").alias("effect_allele"),
        pl.col(f"f{other}").alias("other_allele"),
    )
    wrong = rows.filter(variants["base_pair_location"].is_null() | (variants["base_pair_location"] < 0))
    if wrong.height:
        raise GenotypeError(
            f"{path}, line {wrong['line'][0]}: wanted a position of 0 or above in base pairs, "
            f"found {wrong[f'f{position}'][0]!r}; {wrong.height} such lines"
        )
    return variants


def unique_iids(iids: pl.Series, path: Path) -> list[str]:
    """Return the IIDs of a file as a list; raises GenotypeError where one occurs more than once."""
    repeated = iids.filter(iids.is_duplicated())
    if repeated.len():
        raise GenotypeError(
            f"{path}: {repeated.n_unique()} IIDs occur more than once, the first is {repeated[0]}; "
            "participants are joined by IID, so each must occur once"
        )
    return iids.to_list()

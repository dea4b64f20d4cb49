import polars as pl
import pytest

from edp_assets.science.genetics.builds import CHROMOSOME_LENGTHS, beyond_chromosome_ends
from edp_assets.science.genetics.sex_chromosomes import PSEUDO_AUTOSOMAL


def test_beyond_chromosome_ends__the_last_base_is_inside():
    variants = pl.DataFrame({
        "chromosome": ["1", "1", "19", "X", "MT", "GL000192.1"],
        "base_pair_location": [249250621, 249250622, 59128983, 155270561, 99999, 10**9],
    })  # fmt: skip
    assert beyond_chromosome_ends(variants, "GRCh37").rows() == [
        ("1", 249250622, 249250621), ("X", 155270561, 155270560)
    ]  # fmt: skip
    assert beyond_chromosome_ends(variants, "GRCh38")["chromosome"].to_list() == ["1", "1", "19"]


def test_beyond_chromosome_ends__unknown_build():
    with pytest.raises(ValueError, match="wanted one of NCBI36, GRCh37, GRCh38, found 'hg19'"):
        beyond_chromosome_ends(pl.DataFrame({"chromosome": ["1"], "base_pair_location": [1]}), "hg19")


def test_chromosome_lengths__of_every_build_with_its_par2_inside_x():
    assert CHROMOSOME_LENGTHS.keys() == PSEUDO_AUTOSOMAL.keys()
    for build, lengths in CHROMOSOME_LENGTHS.items():
        assert 0 < lengths["X"] - PSEUDO_AUTOSOMAL[build][1] < 1_000_000
        assert 2_850_000_000 < sum(lengths[str(n)] for n in range(1, 23)) < 2_900_000_000

"""Genotypes to summary statistics, loci and genes."""

"""Embeddings to phenotypes: adjustment, scores, selection."""

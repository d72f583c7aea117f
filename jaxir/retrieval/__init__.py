"""Representations and a corpus -> rankings: encode, index, search, BM25, fusion, run files."""

"""The matrix of versions: which ones, and what runs them."""

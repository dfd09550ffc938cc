"""One file an engine; `persist/registry.py` says which URL leads where."""

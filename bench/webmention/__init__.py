"""`python -m bench.webmention`: mentions between web sites, beside its peers'."""

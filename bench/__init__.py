"""The benchmarks: `python -m bench.persist`."""

"""Benchmarks: the product and a reference, measured alternately in one run. `make bench` runs them."""

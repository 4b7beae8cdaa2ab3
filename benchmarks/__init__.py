"""Benchmarks: the main job beside its peers, and latency. `python -m benchmarks --help`."""

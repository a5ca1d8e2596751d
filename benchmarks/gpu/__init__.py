"""Everything that only a machine with a GPU can tell: see benchmarks/gpu_check.py."""

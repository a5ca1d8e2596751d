"""Checks and measurements that need a GPU: see benchmarks/gpu_check.py."""

"""Batched GEMM and dense-chain backends, roofline probes."""

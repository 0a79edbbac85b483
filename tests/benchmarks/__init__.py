"""Benchmarks. Each prints ratios against a baseline of the same run. See docs/topics/performance.md."""

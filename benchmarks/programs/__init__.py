"""Programs that the benchmarks start by their path."""

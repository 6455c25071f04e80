"""`python -m benchmarks [NAME…] [--rounds N] [--json FILE] [--tiny] [--list]`."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import attrs

from benchmarks.harness import Benchmark, measure
from benchmarks.report import document, table
from benchmarks.suite import BENCHMARKS


def _chosen(names: Sequence[str]) -> list[Benchmark]:
    """Return the benchmarks of those names; `workflow`, which is none's, is all whose name starts with `workflow-`."""
    if not names:
        return list(BENCHMARKS)
    chosen: list[Benchmark] = []
    for name in names:
        named = [benchmark for benchmark in BENCHMARKS if benchmark.name == name]
        named = named or [benchmark for benchmark in BENCHMARKS if benchmark.name.startswith(f"{name}-")]
        if not named:
            raise SystemExit(f"no benchmark {name!r}; there are: {', '.join(benchmark.name for benchmark in BENCHMARKS)}")
        chosen.extend(named)
    return chosen


def _sized(benchmark: Benchmark, *, tiny: bool, rounds: int | None) -> Benchmark:
    if tiny:
        return attrs.evolve(benchmark, rounds=1, batches=1, batch_s=0.0)
    return benchmark if rounds is None else attrs.evolve(benchmark, rounds=rounds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmarks that were named, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ours and its peers, interleaved in one run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a benchmark, or the first word of several; default: all")
    parser.add_argument("--rounds", type=int, help="turns of each contender; default: the benchmark's own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--tiny", action="store_true", help="each once, only to show that it works")
    parser.add_argument("--list", action="store_true", help="name the benchmarks and stop")
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    chosen = _chosen(options.names)
    if options.list:
        print("\n".join(f"{benchmark.name:14}{benchmark.title}" for benchmark in chosen))
        return
    outcomes = []
    for benchmark in chosen:
        outcomes.append(asyncio.run(measure(_sized(benchmark, tiny=options.tiny, rounds=options.rounds))))
        print(table(outcomes[-1]), end="\n\n", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(document(outcomes), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

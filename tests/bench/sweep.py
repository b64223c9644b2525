#!/usr/bin/env python3
"""Random layers: is what the compiler chooses exact, and never slower than its portable kernels?

    tests/bench/sweep.py BUILD [options]

Each layer is measured with the engine that the compiler chooses, then with the portable engines mma_b1 and mma_s8,
which run on every target: one process does all of a layer, one after the other. All are compared with the reference,
and all outputs byte for byte with each other. Where the choice seems slower than a portable engine by more than 3% and
0.1 us, both are measured once more, and the least time of each counts. Times on the CPU device mean nothing and none
counts.

Exit status: 0 success, 1 a layer failed, was not exact or was slower, 2 wrong usage.
"""
import argparse
import random
import sys

import layers

PORTABLE = ("mma_b1", "mma_s8")
NOISE_SHARE, NOISE_US = 0.03, 0.1
WORST = 10
TITLE = ("layer", "types", "engine", "tile", "us", "portable", "us", "ratio", "exact")
WIDTHS = (-34, -16, -9, -24, 10, -8, 10, 6, 8)


def is_slower(row):
    us, portable = row["us"], row["portable_us"]
    if portable is None or row["device"] == "cpu":
        return False
    return us > portable * (1 + NOISE_SHARE) and us > portable + NOISE_US


def compare(row, measured):
    """The fastest portable engine, and the choice against it: more than 1 is faster. `measured`: us by engine, the
    chosen one's included where it is portable."""
    row["portable"] = min((engine for engine in PORTABLE if engine in measured), key=measured.get, default=None)
    row["portable_us"] = measured.get(row["portable"])
    row["ratio"] = row["portable_us"] / row["us"] if row["portable"] and row["us"] else None
    row["slower"] = is_slower(row)


def measure_again(bench, layer, row, measured):
    chosen = bench.measure(layer)
    portable = bench.measure(layer + ["--engine", row["portable"]])
    row["us"] = min(row["us"], chosen.get("us", row["us"]))
    measured[row["portable"]] = min(row["portable_us"], portable.get("us", row["portable_us"]))
    compare(row, measured)


def measure(bench, layer):
    """A row of the table: apnn-bench's object for the chosen engine, and what the portable ones took; or "error"."""
    row = bench.measure(layer)
    if "error" in row:
        return row
    measured, exact = {row["engine"]: row["us"]}, row["exact"]
    for engine in PORTABLE:
        if engine in measured:
            continue
        result = bench.measure(layer + ["--engine", engine])
        if layers.refused(result):
            continue
        if "error" in result:
            return {"error": f"on {engine}: {result['error']}"}
        measured[engine] = result["us"]
        if not result["exact"] or result["outputs"] != row["outputs"]:
            exact = False
    row["exact"], row["engines_us"] = exact, measured
    compare(row, measured)
    if row["slower"] and row["portable"] != row["engine"]:
        measure_again(bench, layer, row, measured)
    return row


def print_layer(layer, row):
    if "error" in row:
        layers.print_failure(layer, row)
        return
    layers.print_row((layers.name(layer), layers.types(row), row["engine"], row["tile"], layers.number(row["us"], 2),
                      row["portable"] or "-", layers.number(row["portable_us"], 2), layers.number(row["ratio"], 2),
                      layers.exact(row)), WIDTHS)


def print_summary(done, options):
    """True where all is well."""
    rows = [(layer, row) for layer, row in done if "error" not in row]
    inexact, slower = (sum(1 for _, row in rows if test(row))
                       for test in (lambda row: not row["exact"], lambda row: row["slower"]))
    ranked = sorted((pair for pair in rows if pair[1]["ratio"] is not None), key=lambda pair: pair[1]["ratio"])
    if ranked:
        print(f"\nleast ratios, of {len(ranked)}:")
    for layer, row in ranked[:WORST]:
        print_layer(layer, row)
    failed = len(done) - len(rows)
    print(f"\nseed {options.seed}: {len(rows) - inexact} exact, {inexact} not exact, {failed} failed; {slower} slower "
          f"than a portable engine by more than {NOISE_SHARE:.0%} and {NOISE_US} us")
    return bool(rows) and not inexact and not failed and not slower


def parse_options():
    parser = argparse.ArgumentParser(description="Random layers: is the compiler's choice exact, and the fastest?")
    layers.add_options(parser)
    parser.add_argument("--count", type=layers.positive(int), default=200, help="random layers (200)")
    layers.add_options_of_many(parser)
    parser.add_argument("--suite", help="these layers instead of random ones")
    return parser.parse_args()


def main():
    options = parse_options()
    try:
        program, out = layers.bench_program(options), layers.open_out(options)
    except layers.Usage as error:
        print(f"sweep.py: {error}", file=sys.stderr)
        return 2
    chosen = layers.read_suite(options.suite) if options.suite else layers.random_layers(
        random.Random(options.seed), options.count, options.most_work)
    layers.print_row(TITLE, WIDTHS)
    done = layers.measure_all(program, options, chosen, print_layer, out, measure)
    good = print_summary(done, options)
    layers.print_not_begun(len(chosen) - len(done), options)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

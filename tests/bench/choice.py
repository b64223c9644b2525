#!/usr/bin/env python3
"""How good is the cost model's choice of engine and tile? Against the fastest of those that --tune would try.

    tests/bench/choice.py BUILD [options]

Of every layer the model's choice is measured, then the tiles of its engine and of the others worth measuring, the best
by estimate of each (`apnn-bench layer --candidates`): one process does all of a layer. In the end the model's choice
and the fastest are measured once more, and the least time of each counts. All candidates are compared with the
reference, and all outputs byte for byte with each other.

Exit status: 0 success, 1 a layer failed or was not exact, 2 wrong usage.
"""
import argparse
import collections
import math
import random
import sys

import layers

NEAR = 1.1
WORST = 10
MOST_WEIGHTS = 2 ** 26  # of a layer that is measured without --large: a candidate of more takes many seconds to compile
TITLE = ("layer", "types", "model", "tile", "us", "tuned", "tile", "us", "ratio", "tried", "exact")
WIDTHS = (-34, -16, -9, -24, 10, -9, -24, 10, 6, 6, 8)


class Failure(Exception):
    """Why a layer has no row."""


class Search:
    """The candidates of one layer, all measured by one process."""

    def __init__(self, bench, layer, candidates):
        self.bench, self.layer = bench, layer
        self.listing = ["--candidates", str(candidates)]
        self.model = self.ask(self.listing)
        self.tried, self.exact = [], self.model["exact"]
        self.add(self.model, self.model["engine"])

    def ask(self, words):
        result = self.bench.measure(self.layer + words)
        if "error" in result and not layers.refused(result):
            raise Failure(f"{' '.join(words)}: {result['error']}")
        return result

    def add(self, result, engine, tile=None):
        """One that the kernel could not have runs as another, which is no candidate."""
        if layers.refused(result) or result["engine"] != engine or (tile and result["tile"] != tile["tile"]):
            return
        self.tried.append({"engine": engine, "tile": result["tile"], "us": result["us"],
                           "estimate_us": tile["estimate_us"] if tile else None})
        if not result["exact"] or result["outputs"] != self.model["outputs"]:
            self.exact = False

    def try_tiles(self, engine, first):
        """`first`: what came of the engine with the model's tile, the candidate that was added last."""
        own = self.tried[-1]
        for tile in first["tiles"]:
            if tile["tile"] == own["tile"]:
                own["estimate_us"] = tile["estimate_us"]
            else:
                self.add(self.ask(["--sample", "--engine", engine, "--tile", tile["tile"]]), engine, tile)

    def try_engine(self, engine):
        count = len(self.tried)
        result = self.ask(["--sample", "--engine", engine] + self.listing)
        self.add(result, engine)
        if len(self.tried) > count:
            self.try_tiles(engine, result)

    def again(self, candidate):
        words = ["--sample", "--engine", candidate["engine"]]
        words += ["--tile", candidate["tile"]] if candidate["tile"] else []
        candidate["us"] = min(candidate["us"], self.ask(words).get("us", candidate["us"]))

    def row(self):
        """apnn-bench's object for the model's choice, with the fastest and all that were tried."""
        model = self.tried[0]
        self.try_tiles(model["engine"], self.model)
        for other in self.model["engines"]:
            if other["engine"] != model["engine"]:
                self.try_engine(other["engine"])
        tuned = min(self.tried, key=lambda candidate: candidate["us"])
        if tuned is not model:
            self.again(tuned)
            self.again(model)
        tuned = min(model, tuned, key=lambda candidate: candidate["us"])
        return {**self.model, "us": model["us"], "exact": self.exact, "tuned": tuned, "candidates": self.tried,
                "ratio": model["us"] / tuned["us"] if tuned["us"] else 1.0}


def measure(bench, layer, candidates):
    try:
        return Search(bench, layer, candidates).row()
    except Failure as failure:
        return {"error": str(failure)}


# --- printing ---

def print_layer(layer, row):
    if "error" in row:
        layers.print_failure(layer, row)
        return
    tuned = row["tuned"]
    same = tuned["engine"] == row["engine"] and tuned["tile"] == row["tile"]
    layers.print_row((layers.name(layer), layers.types(row), row["engine"], row["tile"], layers.number(row["us"], 2),
                      "=" if same else tuned["engine"], "" if same else tuned["tile"], layers.number(tuned["us"], 2),
                      layers.number(row["ratio"], 2), len(row["candidates"]), layers.exact(row)), WIDTHS)


def print_engines(rows):
    """Which engines the model and the measurements choose."""
    pairs = collections.Counter((row["engine"], row["tuned"]["engine"]) for _, row in rows)
    for (model, tuned), count in sorted(pairs.items(), key=lambda pair: -pair[1]):
        print(f"  {model} is right for {count}" if model == tuned else f"  {model} where {tuned} is faster for {count}")


def print_summary(done):
    """True where all is well."""
    rows = [(layer, row) for layer, row in done if "error" not in row]
    inexact = sum(1 for _, row in rows if not row["exact"])
    failed = len(done) - len(rows)
    if rows:
        near = sum(1 for _, row in rows if row["ratio"] <= NEAR)
        mean = math.exp(sum(math.log(row["ratio"]) for _, row in rows) / len(rows))
        print(f"\nthe model's time over the tuned one's, the greatest of {len(rows)}:")
        for layer, row in sorted(rows, key=lambda pair: -pair[1]["ratio"])[:WORST]:
            print_layer(layer, row)
        print("\nengines:")
        print_engines(rows)
        print(f"\n{near} of {len(rows)} ({near / len(rows):.0%}) within 10% of the tuned time, "
              f"geometric mean {mean:.3f}")
    print(f"{len(rows) - inexact} exact, {inexact} not exact, {failed} failed")
    return bool(rows) and not inexact and not failed


# --- the whole ---

def parse_options():
    parser = argparse.ArgumentParser(description="The cost model's choices against the fastest of those tried.")
    layers.add_options(parser)
    layers.add_options_of_many(parser)
    parser.add_argument("--suite", default=layers.SUITE, help="another list of layers")
    parser.add_argument("--filter", default="", help="only layers whose words match this regular expression")
    parser.add_argument("--large", action="store_true", help="those with 2^26 weights or more too")
    parser.add_argument("--random", type=layers.positive(int), metavar="COUNT", help="random layers instead of a suite")
    parser.add_argument("--candidates", type=layers.positive(int), default=6,
                        help="tiles of each engine, the best by estimate (6; at most 16)")
    options = parser.parse_args()
    if options.candidates > 16:
        parser.error("argument --candidates: at most 16")
    return options


def choose_layers(options):
    if options.random:
        return layers.random_layers(random.Random(options.seed), options.random, options.most_work)
    wanted, chosen, large = layers.pattern(options.filter), [], 0
    for layer in layers.read_suite(options.suite):
        _, channels, depth = layers.product_shape(layer)
        if not wanted.search(" ".join(layer)):
            continue
        if channels * depth < MOST_WEIGHTS or options.large:
            chosen.append(layer)
        else:
            large += 1
    if large:
        print(f"{large} layers with 2^26 weights or more are left out (--large)")
    return chosen


def main():
    options = parse_options()
    try:
        program, chosen, out = layers.bench_program(options), choose_layers(options), layers.open_out(options)
    except layers.Usage as error:
        print(f"choice.py: {error}", file=sys.stderr)
        return 2
    layers.print_row(TITLE, WIDTHS)
    done = layers.measure_all(program, options, chosen, print_layer, out,
                              lambda bench, layer: measure(bench, layer, options.candidates))
    good = print_summary(done)
    layers.print_not_begun(len(chosen) - len(done), options)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Time single layers against cuBLASLt's int8 products, in one run on one machine.

    tests/bench/run.py BUILD [options]

BUILD is a build folder (build/release). Every entry of suite.txt is compiled, checked and timed by `apnn-bench layer`.
The peer computes the same product in bytes; a convolution's peer is the product with M pixels, N channels out and
K = window x channels in, the gathering of windows given for free. Entries that fail are named, and the run goes on.

Exit status: 0 success, 1 an entry failed or was not exact, 2 wrong usage.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

import layers

TITLE = ("layer", "types", "engine", "us", "peer us", "ratio", "Top/s", "peak", "floor", "limiter", "exact")
WIDTHS = (-34, -16, -9, 10, 10, 7, 9, 6, 6, 10, 8)
LAUNCH_US = 0.78  # of kernels that wait for each other in a graph, on an H200


def build_peer(folder):
    """The peer's program, compiled with nvcc; None, after saying why, where that fails."""
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if not nvcc:
        print("no peer: nvcc is not found", file=sys.stderr)
        return None
    program = os.path.join(folder, "peer_cublaslt")
    built = subprocess.run([nvcc, "-O2", "-o", program, os.path.join(layers.HERE, "peer_cublaslt.c"), "-lcublasLt"],
                           capture_output=True, text=True, check=False)
    if built.returncode:
        print("no peer: " + (built.stderr or built.stdout).strip(), file=sys.stderr)
        return None
    return program


def parse_lines(text):
    """The JSON objects among a program's lines."""
    objects = []
    for line in text.splitlines():
        try:
            objects.append(json.loads(line))
        except ValueError:
            print(line, file=sys.stderr)
    return objects


def run_peer(program, shapes, options):
    """Results by shape. A peer that dies leaves the shapes it did not reach without a result."""
    words = [str(size) for shape in shapes for size in shape]
    try:
        done = subprocess.run([program] + (["--cold"] if options.cold else []) + words, capture_output=True, text=True,
                              timeout=options.timeout * len(shapes), check=False)
        output, errors = done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        output, errors = (late.stdout or b"").decode(), "the peer ran out of time\n"
    except OSError as error:
        output, errors = "", f"no peer: {error}\n"
    sys.stderr.write(errors)
    return {tuple(result["shape"]): result for result in parse_lines(output)}


def add_floor(result, bandwidth):
    """What no implementation undercuts: the longer of the products at the instruction's rate and of the bytes that have
    to move at the memory's, and a launch; the share of it in the time; and which of them is the longest."""
    parts = {"arithmetic": result["us"] * result["peak_share"], "memory": result["bytes"] / (bandwidth * 1e3)}
    result["floor_us"] = max(parts.values()) + LAUNCH_US
    result["floor_share"] = result["floor_us"] / result["us"]
    parts["launch"] = LAUNCH_US
    result["limiter"] = max(parts, key=parts.get)


def report(layer, result):
    """A row of the table; true where the layer was measured and is exact."""
    if "error" in result:
        layers.print_failure(layer, result)
        return False
    layers.print_row((layers.name(layer), layers.types(result), result["engine"], layers.number(result["us"], 2),
                      layers.number(result["peer_us"], 2), layers.number(result["ratio"], 2),
                      layers.number(result["tops"], 1), f"{100 * result['peak_share']:.0f}%",
                      f"{100 * result['floor_share']:.0f}%", result["limiter"],
                      layers.exact(result)), WIDTHS)
    return bool(result["exact"])


def parse_options():
    parser = argparse.ArgumentParser(description="Time single layers against cuBLASLt's int8 products.")
    layers.add_options(parser)
    parser.add_argument("--suite", default=layers.SUITE, help="another list of layers")
    parser.add_argument("--filter", default="", help="only entries whose words match this regular expression")
    parser.add_argument("--peer", help="the peer's program; without it nvcc builds peer_cublaslt.c")
    parser.add_argument("--no-peer", action="store_true", help="leave the peer out")
    parser.add_argument("--engine", help="as for apnn-bench")
    parser.add_argument("--cold", action="store_true", help="with a cold L2 cache, the peer too")
    parser.add_argument("--bandwidth", type=float, default=4300,
                        help="of the device's memory in GB/s (4300, an H200's)")
    parser.add_argument("--runs", type=int, default=30, help="runs of which the median is taken (30)")
    return parser.parse_args()


def measure_all(program, chosen, peers, options, out):
    words = ["--runs", str(options.runs)] + (["--engine", options.engine] if options.engine else [])
    bench = layers.Bench(program, options, words + (["--cold"] if options.cold else []))
    failed = 0
    layers.print_row(TITLE, WIDTHS)
    for layer in chosen:
        result = bench.measure(layer)
        peer = peers.get(layers.product_shape(layer), {})
        if "error" not in result:
            result["peer_us"] = peer.get("us")
            result["ratio"] = peer["us"] / result["us"] if peer.get("us") and result["us"] else None
            add_floor(result, options.bandwidth)
        failed += not report(layer, result)
        layers.write_line(out, layer, result)
    bench.close()
    return failed


def main():
    options = parse_options()
    try:
        program, wanted = layers.bench_program(options), layers.pattern(options.filter)
        out = layers.open_out(options)
    except layers.Usage as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    chosen = [layer for layer in layers.read_suite(options.suite) if wanted.search(" ".join(layer))]
    shapes = list(dict.fromkeys(layers.product_shape(layer) for layer in chosen))
    peers = {}
    with tempfile.TemporaryDirectory() as folder:
        peer = None if options.no_peer or not chosen else options.peer or build_peer(folder)
        if peer:
            peers = run_peer(peer, shapes, options)
    for shape, result in peers.items():
        if result.get("error") or not result.get("exact"):
            print(f"peer {shape}: {result.get('error', 'its result is not exact')}", file=sys.stderr)
    failed = measure_all(program, chosen, peers, options, out)
    if out:
        out.close()
    print(f"{len(chosen) - failed} measured, {failed} failed")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())

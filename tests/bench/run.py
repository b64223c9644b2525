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
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = {"gemm": 3, "conv": 7}
TITLE = ("layer", "types", "engine", "us", "peer us", "ratio", "Top/s", "peak", "floor", "limiter", "exact")
WIDTHS = (-34, -16, -9, 10, 10, 7, 9, 6, 6, 10, 8)
LAUNCH_US = 0.78  # of kernels that wait for each other in a graph, on an H200


def read_suite(path):
    """The commands of a suite: lists of words for `apnn-bench layer`."""
    commands = []
    with open(path, encoding="utf-8") as suite:
        for number, line in enumerate(suite, 1):
            words = line.split("#")[0].split()
            if not words:
                continue
            count = 1 + SIZES.get(words[0], 0)
            numbers = words[1:count]
            first_option = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
            if words[0] not in SIZES or not all(n.isdigit() for n in numbers) or first_option <= count:
                sys.exit(f"{path}:{number}: expected an operation, its sizes and a precision: {line.strip()}")
            for precision in words[count:first_option]:
                commands.append(words[:count] + [precision] + words[first_option:])
    return commands


def peer_shape(command):
    """M, N, K of the product that a command's layer is."""
    sizes = [int(word) for word in command[1:1 + SIZES[command[0]]]]
    if command[0] == "gemm":
        return tuple(sizes)
    images, height, width, channels_in, channels_out, kernel, stride = sizes
    room = 2 * ((kernel - 1) // 2) - kernel
    pixels = ((height + room) // stride + 1) * ((width + room) // stride + 1)
    return images * pixels, channels_out, kernel * kernel * channels_in


def build_peer(folder):
    """The peer's program, compiled with nvcc; None, after saying why, where that fails."""
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if not nvcc:
        print("no peer: nvcc is not found", file=sys.stderr)
        return None
    program = os.path.join(folder, "peer_cublaslt")
    built = subprocess.run([nvcc, "-O2", "-o", program, os.path.join(HERE, "peer_cublaslt.c"), "-lcublasLt"],
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


def run_layer(program, command, options):
    """The measurement of one command: apnn-bench's object, or one with "error"."""
    words = [program, "layer"] + command + ["--json", "--runs", str(options.runs)]
    for name in ("device", "engine", "target"):
        if getattr(options, name):
            words += ["--" + name, getattr(options, name)]
    if options.cold:
        words.append("--cold")
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=options.timeout, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"no result within {options.timeout:g} s"}
    except OSError as error:
        return {"error": str(error)}
    results = parse_lines(done.stdout)
    if len(results) != 1:
        return {"error": done.stderr.strip() or f"exit status {done.returncode}"}
    return results[0]


def add_floor(result, bandwidth):
    """What no implementation undercuts: the longer of the products at the instruction's rate and of the bytes that have
    to move at the memory's, and a launch; the share of it in the time; and which of them is the longest."""
    parts = {"arithmetic": result["us"] * result["peak_share"], "memory": result["bytes"] / (bandwidth * 1e3)}
    result["floor_us"] = max(parts.values()) + LAUNCH_US
    result["floor_share"] = result["floor_us"] / result["us"]
    parts["launch"] = LAUNCH_US
    result["limiter"] = max(parts, key=parts.get)


def print_row(cells):
    print(" ".join(f"{cell:<{-w}}" if w < 0 else f"{cell:>{w}}" for cell, w in zip(cells, WIDTHS)), flush=True)


def number(value, digits):
    return "-" if value is None else f"{value:,.{digits}f}"


def report(command, result):
    """A row of the table; true where the layer was measured and is exact."""
    layer = f"{command[0]} {'x'.join(command[1:1 + SIZES[command[0]]])}"
    if "error" in result:
        print(f"{layer} {' '.join(command[1 + SIZES[command[0]]:])}: FAILED: {result['error']}", flush=True)
        return False
    exact = {True: "yes", False: "NO"}.get(result["exact"], result["exact"])
    print_row((layer, f"{result['w']} {result['a']}>{result['out']}", result["engine"], number(result["us"], 2),
               number(result["peer_us"], 2), number(result["ratio"], 2), number(result["tops"], 1),
               f"{100 * result['peak_share']:.0f}%", f"{100 * result['floor_share']:.0f}%", result["limiter"], exact))
    return bool(result["exact"])


def parse_options():
    parser = argparse.ArgumentParser(description="Time single layers against cuBLASLt's int8 products.")
    parser.add_argument("build", help="a build folder, for instance build/release")
    parser.add_argument("--suite", default=os.path.join(HERE, "suite.txt"), help="another list of layers")
    parser.add_argument("--filter", default="", help="only entries whose words match this regular expression")
    parser.add_argument("--out", help="write a JSON object a line to this file")
    parser.add_argument("--peer", help="the peer's program; without it nvcc builds peer_cublaslt.c")
    parser.add_argument("--no-peer", action="store_true", help="leave the peer out")
    parser.add_argument("--device", help="as for apnn-bench")
    parser.add_argument("--engine", help="as for apnn-bench")
    parser.add_argument("--target", help="as for apnn-bench")
    parser.add_argument("--cold", action="store_true", help="with a cold L2 cache, the peer too")
    parser.add_argument("--bandwidth", type=float, default=4300, help="of the device's memory in GB/s (4300, an H200's)")
    parser.add_argument("--runs", type=int, default=30, help="runs of which the median is taken (30)")
    parser.add_argument("--timeout", type=float, default=120, help="seconds an entry may take (120)")
    return parser.parse_args()


def measure_all(program, commands, peers, options, out):
    failed = 0
    print_row(TITLE)
    for command in commands:
        result = run_layer(program, command, options)
        peer = peers.get(peer_shape(command), {})
        if "error" not in result:
            result["peer_us"] = peer.get("us")
            result["ratio"] = peer["us"] / result["us"] if peer.get("us") and result["us"] else None
            add_floor(result, options.bandwidth)
        failed += not report(command, result)
        if out:
            print(json.dumps({"command": " ".join(command), **result}), file=out, flush=True)
    return failed


def main():
    options = parse_options()
    program = os.path.join(options.build, "bin", "apnn-bench")
    if not os.access(program, os.X_OK):
        print(f"run.py: there is no {program}", file=sys.stderr)
        return 2
    try:
        wanted = re.compile(options.filter)
        out = open(options.out, "w", encoding="utf-8") if options.out else None
    except (re.error, OSError) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    commands = [command for command in read_suite(options.suite) if wanted.search(" ".join(command))]
    shapes = list(dict.fromkeys(peer_shape(command) for command in commands))
    peers = {}
    with tempfile.TemporaryDirectory() as folder:
        peer = None if options.no_peer or not commands else options.peer or build_peer(folder)
        if peer:
            peers = run_peer(peer, shapes, options)
    for shape, result in peers.items():
        if result.get("error") or not result.get("exact"):
            print(f"peer {shape}: {result.get('error', 'its result is not exact')}", file=sys.stderr)
    failed = measure_all(program, commands, peers, options, out)
    if out:
        out.close()
    print(f"{len(commands) - failed} measured, {failed} failed")
    return 1 if failed or not commands else 0


if __name__ == "__main__":
    sys.exit(main())

"""Layers as `apnn-bench layer` takes them, lists of words, and measuring them; what the scripts here share.

A layer's words are an operation, its sizes, a precision and options: ["gemm", "64", "128", "256", "w1a2"].
"""
import concurrent.futures
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SUITE = os.path.join(HERE, "suite.txt")
SIZES = {"gemm": 3, "conv": 7}
MOST_JOBS = 12
REFUSED = "cannot compute this layer"  # apnn-bench's words where an engine is no choice for a layer


def read_suite(path):
    """The layers of a suite. A line has an operation, its sizes, one or more precisions, then options."""
    layers = []
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
                layers.append(words[:count] + [precision] + words[first_option:])
    return layers


# --- sizes ---

def sizes(layer):
    return [int(word) for word in layer[1:1 + SIZES[layer[0]]]]


def name(layer):
    return f"{layer[0]} {'x'.join(layer[1:1 + SIZES[layer[0]]])}"


def rest(layer):
    """Precision and options."""
    return " ".join(layer[1 + SIZES[layer[0]]:])


def product_shape(layer):
    """M, N, K of the product that a layer is: of a convolution pixels of all images, channels out, window x channels
    in."""
    if layer[0] == "gemm":
        return tuple(sizes(layer))
    images, height, width, channels_in, channels_out, kernel, stride = sizes(layer)
    room = 2 * ((kernel - 1) // 2) - kernel
    pixels = ((height + room) // stride + 1) * ((width + room) // stride + 1)
    return images * pixels, channels_out, kernel * kernel * channels_in


# --- random layers ---

WEIGHTS = ("bipolar", "ternary", "i2", "i3", "i4", "i5", "i6", "i7", "i8")
MOST_SIZE, MOST_WORK, MOST_ELEMENTS = 5000, 2 ** 37, 2 ** 25  # of a layer: multiply-adds; elements of a tensor


def random_size(source, most):
    """1 to most: evenly, or evenly in its logarithm."""
    if source.random() < 0.5:
        return source.randint(1, most)
    return round(most ** source.random())


def random_sizes(source):
    if source.random() < 0.5:
        return ["gemm"] + [random_size(source, MOST_SIZE) for _ in range(3)]
    side = random_size(source, 224)
    width = side if source.random() < 0.7 else random_size(source, 224)
    channels = [random_size(source, 1024) for _ in range(2)]
    window = [source.choice((1, 3, 5, 7)), source.choice((1, 2))]
    return ["conv", source.randint(1, 32), side, width] + channels + window


def is_small(layer, most_work):
    """Few enough multiply-adds, and elements of weights, operand and result that a check on the CPU can follow."""
    m, n, k = product_shape(layer)
    operand = m * k
    if layer[0] == "conv":
        images, height, width, channels = sizes(layer)[:4]
        operand = images * height * width * channels
    return m * n * k <= most_work and max(n * k, operand, m * n) <= MOST_ELEMENTS


def random_layers(source, count, most_work):
    layers = []
    while len(layers) < count:
        layer = [str(word) for word in random_sizes(source)]
        layer.append(f"{source.choice(WEIGHTS)}xu{source.randint(1, 8)}")
        layer += ["--out", "i32" if source.random() < 0.3 else f"u{source.randint(1, 8)}"]
        if is_small(layer, most_work):
            layers.append(layer)
    return layers


# --- measuring ---

class Bench:
    """A process of apnn-bench that takes layer after layer. One that dies or is late is replaced for the next."""

    def __init__(self, program, options, words):
        self.words = [program, "layer", "--list", "-", "--json"] + words
        for option in ("device", "target"):
            if getattr(options, option):
                self.words += ["--" + option, getattr(options, option)]
        self.timeout = options.timeout
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def close(self):
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def answer(self):
        """The next line; without a newline where the process ended or the time is over."""
        text, end = b"", time.monotonic() + self.timeout
        pipe = self.process.stdout.fileno()
        while not text.endswith(b"\n"):
            if not select.select([pipe], [], [], max(0, end - time.monotonic()))[0]:
                break
            part = os.read(pipe, 65536)
            if not part:
                break
            text += part
        return text.decode(errors="replace")

    def failure(self):
        """Why there was no answer."""
        try:
            return f"exit status {self.process.wait(timeout=1)}"
        except subprocess.TimeoutExpired:
            return f"no result within {self.timeout:g} s"

    def measure(self, layer):
        """apnn-bench's object for the layer, or one with "error"."""
        try:
            if not self.process:
                self.start()
            self.process.stdin.write((" ".join(layer) + "\n").encode())
            self.process.stdin.flush()
            line = self.answer()
            result = json.loads(line) if line.endswith("\n") else {"error": self.failure()}
        except (OSError, ValueError) as error:
            result = {"error": str(error)}
        if "error" in result and REFUSED not in result["error"]:
            self.close()  # the device may be in no state for another
        return result


def refused(result):
    return REFUSED in result.get("error", "")


class Benches:
    """As many processes as jobs, which prepare and check layers side by side and take turns with the device."""

    def __init__(self, program, options, words):
        self.program, self.options, self.words = program, options, words
        self.own, self.all = threading.local(), []

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.words = self.words + ["--turn", os.path.join(self.folder.name, "turn")]
        return self

    def __exit__(self, *_):
        for bench in self.all:
            bench.close()
        self.folder.cleanup()

    def bench(self):
        """The one of this thread."""
        if not hasattr(self.own, "bench"):
            self.own.bench = Bench(self.program, self.options, self.words)
            self.all.append(self.own.bench)
        return self.own.bench

    def map(self, work, chosen):
        """work(bench, layer) for each layer, in their order; None for those not begun in time."""
        end = time.monotonic() + 60 * self.options.minutes
        pool = concurrent.futures.ThreadPoolExecutor(self.options.jobs)
        try:
            yield from pool.map(lambda layer: work(self.bench(), layer) if time.monotonic() < end else None, chosen)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def measure_all(program, options, chosen, report, out, work):
    """Pairs of layer and row, work(bench, layer), of the layers that were begun in time; each is reported and written
    as it comes. Closes the file."""
    done = []
    with Benches(program, options, ["--budget", str(options.budget)]) as benches:
        for layer, row in zip(chosen, benches.map(work, chosen)):
            if row is None:
                continue
            done.append((layer, row))
            report(layer, row)
            write_line(out, layer, row)
    if out:
        out.close()
    return done


# --- options ---

def positive(kind):
    def read(text):
        value = kind(text)
        if value <= 0:
            raise ValueError
        return value
    read.__name__ = f"positive {kind.__name__}"  # argparse names it where the value is wrong
    return read


def add_options(parser):
    """Those that every script has."""
    parser.add_argument("build", help="a build folder, for instance build/release")
    parser.add_argument("--out", help="write a JSON object a line to this file")
    parser.add_argument("--device", help="as for apnn-bench")
    parser.add_argument("--target", help="as for apnn-bench")
    parser.add_argument("--timeout", type=positive(float), default=120, help="seconds a measurement may take (120)")


def add_options_of_many(parser):
    """Those of scripts that measure several layers side by side."""
    jobs = max(1, min(MOST_JOBS, (os.cpu_count() or 1) - 2))
    parser.add_argument("--jobs", type=positive(int), default=jobs,
                        help=f"layers that are prepared side by side; the device is used in turns ({jobs} here)")
    parser.add_argument("--budget", type=positive(int), default=60, help="milliseconds of runs a measurement (60)")
    parser.add_argument("--minutes", type=positive(float), default=6, help="begin no layer after so long (6)")
    parser.add_argument("--seed", type=int, default=1, help="of the random layers (1)")
    parser.add_argument("--most-work", type=positive(int), default=MOST_WORK,
                        help=f"multiply-adds that a random layer may have ({MOST_WORK})")


class Usage(Exception):
    """What is wrong with the command line."""


def bench_program(options):
    program = os.path.join(options.build, "bin", "apnn-bench")
    if not os.access(program, os.X_OK):
        raise Usage(f"there is no {program}")
    return program


def pattern(text):
    try:
        return re.compile(text)
    except re.error as error:
        raise Usage(str(error)) from error


def open_out(options):
    """The file for JSON lines; None without the option."""
    try:
        return open(options.out, "w", encoding="utf-8") if options.out else None
    except OSError as error:
        raise Usage(str(error)) from error


# --- printing ---

def print_row(cells, widths):
    """Negative widths are of columns that begin at the left."""
    print(" ".join(f"{cell:<{-w}}" if w < 0 else f"{cell:>{w}}" for cell, w in zip(cells, widths)).rstrip(), flush=True)


def number(value, digits):
    return "-" if value is None else f"{value:,.{digits}f}"


def exact(result):
    return {True: "yes", False: "NO"}.get(result["exact"], result["exact"])


def print_failure(layer, result):
    print(f"{name(layer)} {rest(layer)}: FAILED: {result['error']}", flush=True)


def print_not_begun(count, options):
    if count:
        print(f"{count} more were not begun within {options.minutes:g} minutes")


def write_line(out, layer, result):
    if out:
        print(json.dumps({"command": " ".join(layer), **result}), file=out, flush=True)


def types(result):
    return f"{result['w']} {result['a']}>{result['out']}"

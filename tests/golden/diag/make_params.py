#!/usr/bin/env python3
"""Writes the parameter files of the networks in this folder, into params/: small, and most of them with one fault.

Usage: make_params.py [FOLDER]. The same bytes every time.
"""
import io
import json
import struct
import sys
import zipfile
from pathlib import Path

FORMATS = {"F32": "f", "F64": "d", "I8": "b", "U8": "B", "I16": "h", "I32": "i", "I64": "q"}
DESCR = {"F32": "<f4", "F64": "<f8", "I8": "|i1", "U8": "|u1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}


def packed(dtype, values):
    return struct.pack("<%d%s" % (len(values), FORMATS[dtype]), *values)


def count(shape):
    n = 1
    for d in shape:
        n *= d
    return n


def filled(dtype, shape, value):
    return dtype, shape, packed(dtype, [value] * count(shape))


def listed(dtype, values, shape=None):
    return dtype, shape or [len(values)], packed(dtype, values)


def header_of(tensors):
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    return header


def safetensors(tensors, header=None):
    text = json.dumps(header or header_of(tensors)).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values())


def npy(dtype, shape, data):
    text = "{'descr': '%s', 'fortran_order': False, 'shape': %s, }" % (DESCR[dtype], tuple(shape))
    text += " " * (63 - (10 + len(text)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


def npz(tensors):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, tensor in tensors.items():
            info = zipfile.ZipInfo(name + ".npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, npy(*tensor))
    return out.getvalue()


def batchnorm(prefix, channels):
    names = (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0))
    return {prefix + "." + leaf: filled("F32", [channels], value) for leaf, value in names}


def main(folder):
    conv = filled("F32", [4, 2, 3, 3], 0.5)  # c1 = conv2d(u2[4, 4, 2], 4, kernel=3)
    good = {"c1.weight": conv, **batchnorm("bn", 4), "a1.scale": filled("F32", [], 0.25)}
    files = {}

    def write(name, changes):
        tensors = {**good, **changes}
        files[name + ".safetensors"] = safetensors({n: t for n, t in tensors.items() if t})

    write("good", {})
    write("misnamed", {"c1.weight": None, "c1.weights": conv, "bn.running_var": None})
    write("misshapen", {"c1.weight": filled("F32", [4, 3, 3, 2], 0.5), "bn.weight": filled("F32", [5], 1.0)})
    write("mistyped", {"c1.weight": ("F8_E4M3", [4, 2, 3, 3], bytes(72)), "bn.bias": filled("I32", [4], 0)})
    write("not_finite", {"bn.weight": listed("F32", [1, 1, float("nan"), 1]),
                         "bn.bias": listed("F64", [0, 1e300, 0, 0]),
                         "c1.weight": listed("F32", [0.5] * 40 + [float("inf")] + [0.5] * 31, [4, 2, 3, 3])})
    write("integers", {"c1.weight": listed("I8", [1] * 29 + [7] + [-1] * 42, [4, 2, 3, 3])})
    write("zeros", {"c1.weight": listed("I8", [1] * 71 + [0], [4, 2, 3, 3])})
    write("negative", {"bn.running_var": listed("F32", [1, -0.5, 1, 1]), "a1.scale": filled("F32", [], -1.0),
                       "c1.weight_scale": listed("F32", [1, 1, 0, 1])})
    write("huge_factor", {"bn.weight": listed("F32", [1, 1, 1, 3e38]), "bn.running_var": listed("F32", [1, 1, 1, 1e-9])})
    write("channel_scales", {"a1.scale": listed("F32", [0.25, 0.5, 0.25, 0.5])})
    write("extra", {"fc.weight": filled("F32", [10, 4], 0.5), "bn.num_batches_tracked": filled("I64", [], 7)})

    whole = files["good.safetensors"]
    files["cut.safetensors"] = whole[: len(whole) - 10]
    files["empty.safetensors"] = b""
    files["no_json.safetensors"] = struct.pack("<Q", 14) + b"{'c1.weight': }"
    overlap = header_of(good)
    overlap["bn.bias"]["data_offsets"] = overlap["bn.weight"]["data_offsets"]
    files["overlap.safetensors"] = safetensors(good, overlap)
    wrong_size = header_of(good)
    wrong_size["bn.bias"]["shape"] = [3]
    files["wrong_size.safetensors"] = safetensors(good, wrong_size)

    archive = npz({n: t for n, t in good.items() if n != "a1.scale"} | {"a1.scale": listed("F64", [0.25])})
    files["good.npz"] = archive
    files["cut.npz"] = archive[: len(archive) // 2]
    at = archive.index(b"bn.weight.npy") + len("bn.weight.npy") + 8
    files["flipped.npz"] = archive[:at] + bytes([archive[at] ^ 16]) + archive[at + 1 :]

    for name, data in files.items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "params")

"""The digits network in numpy, as the language defines it: exact integers and binary32 rounded once an operation.

Independent of the compiler and of PyTorch: it reads digits.safetensors and the test images only. The compiled network
gives these logits to the last bit. `python simulate.py` prints the accuracy; `python simulate.py logits.npy` compares
what apnn-run wrote, bit for bit.
"""
import pathlib
import sys

import numpy as np
from safetensors.numpy import load_file

HERE = pathlib.Path(__file__).resolve().parent
f32 = np.float32


def conv3x3(x, w):
    """Exact sums of a 3x3 convolution, padding 1: x [N, H, W, I], w [O, I, 3, 3] -> int32 [N, H, W, O]."""
    height, width = x.shape[1:3]
    padded = np.pad(x.astype(np.int32), ((0, 0), (1, 1), (1, 1), (0, 0)))
    total = np.zeros(x.shape[:3] + w.shape[:1], np.int32)
    for row in range(3):
        for column in range(3):
            taps = w[:, :, row, column].astype(np.int32).T
            total += padded[:, row : row + height, column : column + width] @ taps
    return total


def dequantize(sums, step_x, step_w):
    return sums.astype(f32) * (f32(step_x) * step_w.astype(f32))


def batchnorm(x, params, name):
    """x * a + b; a and b in binary64, rounded to binary32."""
    gamma, beta, mean, variance = (
        params[f"{name}.{leaf}"].astype(np.float64) for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    a = gamma / np.sqrt(variance + np.float64(f32(1e-5)))
    b = beta - mean * a
    return x * a.astype(f32) + b.astype(f32)


def quantize_u2(x, scale):
    return np.clip(np.rint(x / f32(scale)), 0, 3).astype(np.uint8)


def layer(x, step_x, params, name):
    """conv2d, batchnorm, relu, quantize(u2): returns q and its scale."""
    weight = params[f"{name}.conv.weight"]
    step_w = params.get(f"{name}.conv.weight_scale", np.ones(1, f32))
    x = batchnorm(dequantize(conv3x3(x, weight), step_x, step_w), params, f"{name}.bn")
    scale = params[f"{name}.act.scale"].reshape(())
    return quantize_u2(np.maximum(x, f32(0)), scale), scale


def maxpool2(x):
    n, height, width, channels = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def logits_of(images, params):
    """images uint8 [N, 8, 8, 1] holding q of u4 -> binary32 [N, 10]."""
    x, step = layer(images, f32(1) / f32(15), params, "layer1")
    x, step = layer(x, step, params, "layer2")
    x, step = layer(maxpool2(x), step, params, "layer3")
    x = maxpool2(x).reshape(len(images), -1).astype(np.int32)
    sums = x @ params["fc.weight"].astype(np.int32).T
    return dequantize(sums, step, params["fc.weight_scale"]) + params["fc.bias"]


def main():
    images, labels = np.load(HERE / "test_images.npy"), np.load(HERE / "test_labels.npy")
    logits = logits_of(images, load_file(HERE / "digits.safetensors"))
    assert logits.dtype == f32
    right = int((logits.argmax(1) == labels).sum())
    print(f"exact arithmetic: {100 * right / len(labels):.1f}% ({right} of {len(labels)})")
    if len(sys.argv) > 1:
        compiled = np.load(sys.argv[1])
        differ = int((compiled.view(np.int32) != logits.view(np.int32)).sum())
        print(f"{sys.argv[1]}: {differ} of {logits.size} logits differ")
        sys.exit(differ != 0)


if __name__ == "__main__":
    main()

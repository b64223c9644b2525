"""Trains the digits network and writes digits.safetensors, test_images.npy and test_labels.npy beside this file.

Needs torch, numpy, scikit-learn and safetensors; runs on one CPU core with a fixed seed. The 1797 images of
scikit-learn's load_digits are split once, stratified: 1257 train, 540 are held out and seen by nothing below but the
last lines, which report. The last epoch counts; no epoch, seed or setting is picked by the held-out images.
"""
import argparse
import math

import numpy as np
import torch
from safetensors.numpy import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional as F

import simulate
from model import IMAGE_LEVELS, Digits, int8_scale

BATCH = 64
SEED = 1


def load_split():
    """u4 images [N, 8, 8, 1] and labels: train and held out. The data's levels are 0 .. 16; 16 becomes 15."""
    digits = load_digits()
    images = np.minimum(digits.images, IMAGE_LEVELS).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int32)
    return train_test_split(images, labels, test_size=540, random_state=0, stratify=labels)


def as_input(images):
    return torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2) / IMAGE_LEVELS


def augment(x, generator):
    """Random small shifts, turns and scalings, back on the u4 grid."""
    count = len(x)
    shift = (torch.rand(count, 2, generator=generator) - 0.5) * 0.5  # up to one pixel: the image is 2 units wide
    angle = (torch.rand(count, generator=generator) - 0.5) * math.radians(24)
    zoom = 1 + (torch.rand(count, generator=generator) - 0.5) * 0.24
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    grid = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    moved = F.grid_sample(x, F.affine_grid(grid, x.shape, align_corners=False), align_corners=False)
    return (moved * IMAGE_LEVELS).round() / IMAGE_LEVELS


def train(quantized, x, y, epochs, teacher=None):
    """A trained network; with a teacher, its soft answers count as much as the labels."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    net = Digits(quantized)
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    steps = (len(x) + BATCH - 1) // BATCH * epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.1)
    for epoch in range(epochs):
        for index in torch.randperm(len(x), generator=generator).split(BATCH):
            batch = augment(x[index], generator)
            answer = net(batch)
            loss = F.cross_entropy(answer, y[index])
            if teacher is not None:
                with torch.no_grad():
                    soft = (teacher(batch) / 2).softmax(1)
                loss = loss + 4 * F.kl_div((answer / 2).log_softmax(1), soft, reduction="batchmean")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if (epoch + 1) % 10 == 0:
            print(f"  epoch {epoch + 1}: loss {loss.item():.3f}", flush=True)
    return net.eval()


def export(net):
    """What digits.apnn reads: integer weights as q, their scales, batchnorm as PyTorch has it, activation scales."""
    tensors = {}
    for name, value in net.state_dict().items():
        if name.endswith(".num_batches_tracked"):
            continue
        if name in ("layer1.conv.weight", "fc.weight"):
            scale = int8_scale(value)
            tensors[name + "_scale"] = scale
            value = (value / scale.view(-1, *[1] * (value.dim() - 1))).round().to(torch.int8)
        elif name.endswith(".conv.weight"):
            value = torch.where(value < 0, -1, 1).to(torch.int8)
        tensors[name] = value
    return {name: value.numpy().copy(order="C") for name, value in sorted(tensors.items())}


def accuracy(answers, labels):
    right = int((answers == labels).sum())
    return f"{100 * right / len(labels):.1f}% ({right} of {len(labels)})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=150)
    epochs = parser.parse_args().epochs
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    train_images, test_images, train_labels, test_labels = load_split()
    x, y = as_input(train_images), torch.from_numpy(train_labels).long()
    print("floating point")
    float_net = train(False, x, y, epochs)
    print("quantized")
    net = train(True, x, y, epochs, teacher=float_net)

    params = export(net)
    save_file(params, simulate.HERE / "digits.safetensors")
    np.save(simulate.HERE / "test_images.npy", test_images)
    np.save(simulate.HERE / "test_labels.npy", test_labels)

    with torch.no_grad():
        for name, trained in (("floating point", float_net), ("quantized, PyTorch", net)):
            print(f"{name}: {accuracy(trained(as_input(test_images)).argmax(1).numpy(), test_labels)}")
    print(f"quantized, exact arithmetic: {accuracy(simulate.logits_of(test_images, params).argmax(1), test_labels)}")


if __name__ == "__main__":
    main()

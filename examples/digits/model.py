"""The digits network in PyTorch, quantization-aware: what digits.apnn says, with gradients.

Weights and activations are quantized on the way forward and pass gradients straight through (where they were not
clamped) on the way back. With quantized=False the same network runs in floating point; it is the baseline.
"""
import torch
from torch import nn
from torch.nn import functional as F

CHANNELS = (32, 32, 64)
IMAGE_LEVELS = 15  # u4 input: q in 0 .. 15, value q / 15


def round_through(x):
    """round to nearest even, gradient 1"""
    return x + (x.round() - x).detach()


class BipolarConv(nn.Conv2d):
    """3x3 convolution with weights -1 and +1 (zero counts as +1)."""

    quantized = True

    def forward(self, x):
        w = self.weight
        if self.quantized:
            kept = w.clamp(-1, 1)
            w = kept + (torch.where(w < 0, -1.0, 1.0) - kept).detach()
        return F.conv2d(x, w, padding=1)


def int8_scale(w):
    """One scale per output channel: the greatest magnitude becomes 127."""
    return w.detach().abs().flatten(1).amax(1).clamp(min=1e-8) / 127


def int8_weights(w):
    scale = int8_scale(w).view(-1, *[1] * (w.dim() - 1))
    return round_through(w / scale) * scale


class Int8Conv(nn.Conv2d):
    quantized = True

    def forward(self, x):
        return F.conv2d(x, int8_weights(self.weight) if self.quantized else self.weight, padding=1)


class Int8Linear(nn.Linear):
    quantized = True

    def forward(self, x):
        return F.linear(x, int8_weights(self.weight) if self.quantized else self.weight, self.bias)


class QuantizeU2(nn.Module):
    """clamp(round(x / scale), 0, 3) * scale with a learned scale (Learned Step Size Quantization, arXiv 1902.08153)."""

    quantized = True

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        if not self.quantized:
            return x
        damping = 1 / (x[0].numel() * len(x) * 3) ** 0.5
        scale = self.scale * damping + (self.scale - self.scale * damping).detach()
        return round_through((x / scale).clamp(0, 3)) * scale


class Layer(nn.Module):
    def __init__(self, conv, channels_in, channels_out):
        super().__init__()
        self.conv = conv(channels_in, channels_out, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels_out)
        self.act = QuantizeU2()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)).relu())


class Digits(nn.Module):
    def __init__(self, quantized):
        super().__init__()
        self.layer1 = Layer(Int8Conv, 1, CHANNELS[0])
        self.layer2 = Layer(BipolarConv, CHANNELS[0], CHANNELS[1])
        self.layer3 = Layer(BipolarConv, CHANNELS[1], CHANNELS[2])
        self.fc = Int8Linear(CHANNELS[2] * 4, 10)
        for module in self.modules():
            if hasattr(module, "quantized"):
                module.quantized = quantized
            if quantized and isinstance(module, BipolarConv):
                nn.init.uniform_(module.weight, -0.5, 0.5)

    def forward(self, x):
        x = F.max_pool2d(self.layer2(self.layer1(x)), 2)
        x = F.max_pool2d(self.layer3(x), 2)
        return self.fc(x.permute(0, 2, 3, 1).flatten(1))  # height, width, channels: the order apnnc flattens in

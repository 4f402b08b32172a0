"""Times a training step of MemAE for images in PyTorch, beside which our backends' times can be read.

The network is that of `model-memae` with its default options (Gong et al., ICCV 2019, CIFAR-10 layers): 256x256 colour images, batch 8,
500 slots, dot product, Adam. Usage: `python bench/compare/memae_pytorch.py [--batch 8] [--size 256] [--steps 10]`.
"""

import argparse
import statistics
import time

import torch
from torch import nn
from torch.nn import functional

WIDTHS = [64, 128, 128, 256]
SLOTS = 500
THRESHOLD = 0.0025
ENTROPY_WEIGHT = 0.0002
EPS = 1e-12


class Memory(nn.Module):
    """Softmax over dot products, hard shrinkage, L1 normalisation, weighted sum of slots."""

    def __init__(self, slots, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(slots, channels).uniform_(-1, 1) / channels**0.5)

    def forward(self, x):
        queries = x.movedim(1, -1)
        weights = torch.softmax(queries.flatten(0, -2) @ self.weight.T, 1)
        over = weights - THRESHOLD
        weights = functional.relu(over) * weights / (over.abs() + EPS)
        weights = functional.normalize(weights, p=1, dim=1, eps=EPS)
        return (weights @ self.weight).view_as(queries).movedim(-1, 1), weights


class Memae(nn.Module):
    """Convolutions of stride 2 down, a memory, transposed convolutions back up."""

    def __init__(self):
        super().__init__()
        down, up = [], []
        for inputs, outputs in zip([3] + WIDTHS, WIDTHS):
            down += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
        for inputs, outputs in zip(WIDTHS[::-1], WIDTHS[-2::-1] + [3]):
            up += [nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, 1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up[:-2])
        self.memory = Memory(SLOTS, WIDTHS[-1])

    def forward(self, x):
        read, weights = self.memory(self.encoder(x))
        return self.decoder(read), weights


def step(model, optimizer, x):
    """One training step."""
    optimizer.zero_grad()
    output, weights = model(x)
    entropy = -(weights * torch.log(weights + EPS)).sum(1).mean()
    (functional.mse_loss(output, x) + ENTROPY_WEIGHT * entropy).backward()
    optimizer.step()


def milliseconds(threads, arguments):
    """Median time of a step on a number of threads; the first two steps do not count."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = Memae()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    x = torch.rand(arguments.batch, 3, arguments.size, arguments.size) * 2 - 1
    times = []
    for _ in range(arguments.steps + 2):
        start = time.perf_counter()
        step(model, optimizer, x)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[2:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=10)
    arguments = parser.parse_args()
    for threads in [1, 2]:
        print(f"PyTorch {torch.__version__}, {threads} threads: {milliseconds(threads, arguments):.0f} ms a step")


if __name__ == "__main__":
    main()

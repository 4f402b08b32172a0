"""The networks of `model-memae` and `model-autoencoder` in plain PyTorch, eager: what our backends' times are measured against.

Prepares one model and one task, says `ready`, and then answers every line on standard input by running one step or one inference and
printing its milliseconds. `tests/benches/backends.rs` takes turns between this program and our backends; by hand:

    yes | head -12 | python bench/peers/pytorch.py memae train --batch 8 --size 256 --threads 2

Defaults of the plugins: MemAE (Gong et al., ICCV 2019, CIFAR-10 layers) with 500 slots and dot products, Adam at 1e-4; the autoencoder
with 32, 64, 128, 64 channels, Adam at 1e-3. Inference gives the error map, as ours does.
"""

import argparse
import sys
import time

import torch
from torch import nn
from torch.nn import functional

EPS = 1e-12


class Coder(nn.Module):
    """Convolutions of stride 2 down, transposed convolutions back up, with `between` at the bottleneck."""

    def __init__(self, widths, between):
        super().__init__()
        down, up = [], []
        for inputs, outputs in zip([3] + widths, widths):
            down += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
        for inputs, outputs in zip(widths[::-1], widths[-2::-1] + [3]):
            up += [nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, 1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
        self.encoder, self.between, self.decoder = nn.Sequential(*down), between, nn.Sequential(*up[:-2])

    def forward(self, x):
        code, penalty = self.between(self.encoder(x))
        return self.decoder(code), penalty


class Nothing(nn.Module):
    """The code as it is."""

    def forward(self, x):
        return x, 0.0


class Memory(nn.Module):
    """Softmax over dot products, hard shrinkage, L1 normalisation, weighted sum of slots; the penalty is the entropy's."""

    def __init__(self, slots=500, channels=256, threshold=0.0025, entropy_weight=0.0002):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(slots, channels).uniform_(-1, 1) / channels**0.5)
        self.threshold, self.entropy_weight = threshold, entropy_weight

    def forward(self, x):
        queries = x.movedim(1, -1)
        weights = torch.softmax(queries.flatten(0, -2) @ self.weight.T, 1)
        over = weights - self.threshold
        weights = functional.relu(over) * weights / (over.abs() + EPS)
        weights = functional.normalize(weights, p=1, dim=1, eps=EPS)
        read = (weights @ self.weight).view_as(queries).movedim(-1, 1)
        if not self.training:
            return read, 0.0
        return read, self.entropy_weight * -(weights * torch.log(weights + EPS)).sum(1).mean()


MODELS = {
    "memae": (lambda: Coder([64, 128, 128, 256], Memory()), 1e-4),
    "autoencoder": (lambda: Coder([32, 64, 128, 64], Nothing()), 1e-3),
}


def train(model, rate):
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)

    def step(x):
        optimizer.zero_grad()
        output, penalty = model(x)
        loss = functional.mse_loss(output, x) + penalty
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def infer(model, _):
    model.eval()

    @torch.inference_mode()
    def run(x):
        output, _ = model(x)
        return (output - x).square().mean(1, keepdim=True)

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("task", choices=["train", "infer"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    # In f32, as ours; PyTorch would round the factors of convolutions to TF32 on a GPU.
    torch.backends.cudnn.allow_tf32 = False
    device = torch.device(arguments.device)
    make, rate = MODELS[arguments.model]
    run = {"train": train, "infer": infer}[arguments.task](make().to(device), rate)
    x = torch.rand(arguments.batch, 3, arguments.size, arguments.size) * 2 - 1
    print("ready", torch.__version__, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        # What comes out is read by the host, which also waits for the device.
        run(x.to(device)).cpu()
        print(1000 * (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main()

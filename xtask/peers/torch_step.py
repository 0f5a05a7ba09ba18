"""Times PyTorch on the CPU at the jobs of `protem bench` and prints one line of JSON.

step:      forward, cross-entropy, backward and SGD of a ResNet with 128 outputs, in training mode
features:  everything before the last layer, in evaluation mode
"""

import argparse
import contextlib
import json
import statistics
import time

import torch
from torch import nn

OUTPUTS = 128


def conv_norm(inputs, outputs, kernel, stride=1, relu=True):
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


class Residual(nn.Module):
    """A block of layers with a way around it, which is projected where the shape changes."""

    def __init__(self, inputs, outputs, stride, layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        changed = stride != 1 or inputs != outputs
        self.around = conv_norm(inputs, outputs, 1, stride, relu=False) if changed else nn.Identity()

    def forward(self, x):
        return torch.relu_(self.layers(x) + self.around(x))


def basic(inputs, width, stride):
    return Residual(inputs, width, stride, [
        conv_norm(inputs, width, 3, stride),
        conv_norm(width, width, 3, relu=False),
    ])


def bottleneck(inputs, width, stride):
    return Residual(inputs, 4 * width, stride, [
        conv_norm(inputs, width, 1),
        conv_norm(width, width, 3, stride),
        conv_norm(width, 4 * width, 1, relu=False),
    ])


# Block, blocks per stage, how many times its width a block puts out.
ENCODERS = {"resnet18": (basic, (2, 2, 2, 2), 1), "resnet50": (bottleneck, (3, 4, 6, 3), 4)}


def backbone(encoder, stem, width=64):
    """Everything before the last layer, and how many features that gives."""
    block, depths, expansion = ENCODERS[encoder]
    if stem == "cifar":
        layers = [conv_norm(3, width, 3)]
    else:
        layers = [conv_norm(3, width, 7, 2), nn.MaxPool2d(3, 2, padding=1)]
    channels = width
    for stage, depth in enumerate(depths):
        wide = width << stage
        for index in range(depth):
            layers.append(block(channels, wide, 2 if stage > 0 and index == 0 else 1))
            channels = wide * expansion
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels


def precision(name):
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=name == "bf16")


def training_step(options, images):
    """A function that does one step."""
    layers, features = backbone(options.encoder, options.stem)
    network = nn.Sequential(layers, nn.Linear(features, OUTPUTS)).train()
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-4)
    targets = torch.randint(0, OUTPUTS, (options.batch,))

    def step():
        optimizer.zero_grad(set_to_none=True)
        with precision(options.precision):
            loss = nn.functional.cross_entropy(network(images).float(), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def feature_pass(options, images, context):
    """A function that computes one batch's features."""
    layers, _ = backbone(options.encoder, options.stem)
    layers = layers.eval().to(memory_format=torch.channels_last)
    context.enter_context(torch.inference_mode())
    # Entered once, so that the weights are rounded once and not for every batch.
    context.enter_context(precision(options.precision))
    return lambda: layers(images)


def resident(field):
    """VmRSS (now) or VmHWM (the peak) in bytes."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024


def forget_peak():
    with open("/proc/self/clear_refs", "w") as control:
        control.write("5")


def measure(options):
    # A busy machine does not stretch CPU time, but with several threads it counts all of them.
    clock = time.process_time if options.threads == 1 else time.perf_counter
    forget_peak()
    before = resident("VmRSS")
    side = 32 if options.stem == "cifar" else 224
    images = torch.randn(options.batch, 3, side, side).contiguous(memory_format=torch.channels_last)
    with contextlib.ExitStack() as context:
        if options.job == "step":
            run = training_step(options, images)
        else:
            run = feature_pass(options, images, context)
        for _ in range(3):  # as many as protem makes before those it times
            run()
        seconds = []
        for _ in range(options.iters):
            start = clock()
            run()
            seconds.append(clock() - start)
    return {
        "median_seconds": statistics.median(seconds),
        "peak_bytes": resident("VmHWM") - before,
        "clock": "cpu" if options.threads == 1 else "wall",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=["step", "features"])
    parser.add_argument("--encoder", choices=ENCODERS, default="resnet18")
    parser.add_argument("--stem", choices=["cifar", "imagenet"], default="cifar")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--iters", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(json.dumps(measure(options)), flush=True)


if __name__ == "__main__":
    main()

"""Writes the files in weights/ as torch.save and safetensors write them: a whole ResNet-18 of width 1, and a few tensors of every kind."""

import argparse
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

folder = Path(__file__).parent / "weights"
folder.mkdir(exist_ok=True)


def norm(name, width):
    return {f"{name}.{part}": torch.ones(width) for part in ["weight", "bias", "running_mean", "running_var"]}


def resnet18():
    tensors = OrderedDict({"conv1.weight": torch.ones(1, 3, 3, 3), **norm("bn1", 1)})
    inputs = 1
    for stage in range(1, 5):
        width = 2 ** (stage - 1)
        for block in range(2):
            name = f"layer{stage}.{block}"
            for conv, of in (1, inputs), (2, width):
                tensors[f"{name}.conv{conv}.weight"] = torch.ones(width, of, 3, 3)
                tensors.update(norm(f"{name}.bn{conv}", width))
            if block == 0 and stage > 1:
                tensors[f"{name}.downsample.0.weight"] = torch.ones(width, inputs, 1, 1)
                tensors.update(norm(f"{name}.downsample.1", width))
            inputs = width
    return tensors | {"fc.weight": torch.ones(2, 8), "fc.bias": torch.ones(2)}


whole = resnet18()
# A storage for all of them: the smallest file.
flat = torch.arange(sum(t.numel() for t in whole.values())).half() / 4096
at, shared = 0, OrderedDict()
for name, tensor in whole.items():
    shared[name] = flat[at : at + tensor.numel()].view(tensor.shape)
    at += tensor.numel()
torch.save({"state_dict": shared}, folder / "resnet18.pth")
torch.save({"epoch": 3, "model": shared}, folder / "resnet18_plain.pth", _use_new_zipfile_serialization=False)
save_file({f"query.{n}": t.contiguous().clone() for n, t in shared.items()}, folder / "resnet18.safetensors", {"image_size": "32"})
attribute = torch.nn.Parameter(torch.ones(2))
attribute.note = "kept"
odd = {
    "float": torch.ones(2, 3),
    "double": torch.ones(2, dtype=torch.double),
    "bfloat16": torch.ones(2, dtype=torch.bfloat16),
    "long": torch.ones(2, dtype=torch.long),
    "bool": torch.ones(2, dtype=torch.bool),
    "complex": torch.ones(2, dtype=torch.complex64),
    "turned": torch.ones(2, 3).T,
    "none": torch.ones(0, 3),
    "scalar": torch.tensor(1.5),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "attribute": attribute,
    "arguments": argparse.Namespace(lr=0.03, arch="resnet18", gpu=None),
    "numbers": [1, -2, 300, 70000, 1 << 40, 1 << 80, 1.5, True, None, "é", b"ab", (1,), {1: 2}],
}
torch.save(odd, folder / "odd.pth")
torch.save(odd, folder / "odd_plain.pth", _use_new_zipfile_serialization=False)
torch.save(odd, folder / "odd_protocol5.pth", pickle_protocol=5)
torch.save(odd, folder / "odd_plain_protocol4.pth", pickle_protocol=4, _use_new_zipfile_serialization=False)

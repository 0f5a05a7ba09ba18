"""Runs epochs of PCL v2 in PyTorch, torchvision and faiss, as its authors' code does, and prints one
line of JSON: seconds of each epoch's E-step and M-step, and the losses.

The first epoch has no E-step. All that differs from a run on GPUs is that batch norm knows one device,
so that shuffling the keys would change nothing.
"""

import argparse
import copy
import json
import math
import random
import time

import faiss
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder

from torch_step import backbone, precision
from torchvision_views import evaluation_view, random_view

DIM = 128
TEMPERATURE = 0.2
# Of the k-means of the authors' E-step, and of the concentration.
ITERATIONS, RESTARTS, MOST_POINTS, LEAST_POINTS, SMOOTHING = 20, 5, 1000, 10, 10


class Views(Dataset):
    """Views of a folder's images, and the image's number."""

    def __init__(self, folder, view, views):
        self.images, self.view, self.views = ImageFolder(folder, allow_empty=True), view, views

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image, _ = self.images[i]
        return [self.view(image) for _ in range(self.views)], i


class Encoder(nn.Module):
    """A ResNet-18 with the head of two layers, begun as torchvision's; embeddings have length 1."""

    def __init__(self, stem, width):
        super().__init__()
        self.layers, features = backbone("resnet18", stem, width)
        self.head = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, DIM))
        for layer in self.layers.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images):
        images = images.contiguous(memory_format=torch.channels_last)
        return F.normalize(self.head(self.layers(images)).float(), dim=1)


def concentration(labels, distances, clusters):
    """The temperature of each prototype (equation 12)."""
    sizes = np.bincount(labels, minlength=clusters)
    sums = np.bincount(labels, np.sqrt(np.maximum(distances, 0)), clusters)
    density = np.where(sizes > 1, sums / np.maximum(sizes, 1) / np.log(sizes + SMOOTHING), 0)
    density[sizes <= 1] = density.max()
    density = density.clip(np.percentile(density, 10), np.percentile(density, 90))
    return TEMPERATURE * density / density.mean()


class Pcl:
    def __init__(self, options):
        self.options = options
        self.query = Encoder(options.stem, options.width).to(memory_format=torch.channels_last)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.optimizer = torch.optim.SGD(
            self.query.parameters(), options.lr, momentum=0.9, weight_decay=options.weight_decay
        )
        self.queue = F.normalize(torch.randn(options.queue, DIM), dim=1)
        self.at = 0
        self.training = self.loader(random_view(options.size, "v2", options.blur == "on"), 2, options.batch, True)
        self.still = self.loader(evaluation_view(options.size), 1, 5 * options.batch, False)

    def loader(self, view, views, batch, shuffle):
        return DataLoader(
            Views(self.options.data, view, views),
            batch,
            shuffle=shuffle,
            drop_last=shuffle,
            num_workers=self.options.threads,
            persistent_workers=True,
        )

    @torch.no_grad()
    def e_step(self):
        """Labels, prototypes and temperatures of each clustering."""
        self.key.eval()
        embeddings = torch.empty(len(self.still.dataset), DIM)
        for (images,), numbers in self.still:
            with precision(self.options.precision):
                embeddings[numbers] = self.key(images)
        self.key.train()
        points = embeddings.numpy()
        return [self.cluster(points, seed, k) for seed, k in enumerate(self.options.clusters)]

    def cluster(self, points, seed, k):
        clustering = faiss.Clustering(DIM, k)
        clustering.niter, clustering.nredo, clustering.seed = ITERATIONS, RESTARTS, seed
        clustering.max_points_per_centroid, clustering.min_points_per_centroid = MOST_POINTS, LEAST_POINTS
        index = faiss.IndexFlatL2(DIM)
        clustering.train(points, index)
        distances, labels = index.search(points, 1)
        centroids = faiss.vector_to_array(clustering.centroids).reshape(k, DIM)
        temperatures = concentration(labels[:, 0], distances[:, 0], k)
        prototypes = F.normalize(torch.from_numpy(centroids), dim=1)
        return torch.from_numpy(labels[:, 0]), prototypes, torch.from_numpy(temperatures).float()

    @torch.no_grad()
    def keys(self, images):
        share = 1 - self.options.momentum
        for key, query in zip(self.key.parameters(), self.query.parameters()):
            key.lerp_(query, share)
        with precision(self.options.precision):
            return self.key(images)

    def instance_loss(self, queries, keys):
        positive = (queries * keys).sum(1, keepdim=True)
        logits = torch.cat([positive, queries @ self.queue.T], 1) / TEMPERATURE
        return F.cross_entropy(logits, torch.zeros(len(queries), dtype=torch.long))

    def prototype_loss(self, queries, numbers, clusterings):
        terms = []
        for labels, prototypes, temperatures in clusterings:
            positive = labels[numbers]
            others = sorted(set(range(len(prototypes))) - set(positive.tolist()))
            negative = random.sample(others, min(self.options.negatives, len(others)))
            chosen = torch.cat([positive, torch.tensor(negative, dtype=torch.long)])
            logits = queries @ prototypes[chosen].T / temperatures[chosen]
            terms.append(F.cross_entropy(logits, torch.arange(len(queries))))
        return sum(terms) / len(terms)

    def m_step(self, clusterings):
        """The means of both losses."""
        sums, steps = [0.0, 0.0], 0
        for (first, second), numbers in self.training:
            keys = self.keys(second)
            with precision(self.options.precision):
                queries = self.query(first)
            loss = instance = self.instance_loss(queries, keys)
            if clusterings:
                prototype = self.prototype_loss(queries, numbers, clusterings)
                loss = instance + prototype
                sums[1] += prototype.item()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.queue[self.at : self.at + len(keys)] = keys
            self.at = (self.at + len(keys)) % len(self.queue)
            sums[0] += instance.item()
            steps += 1
        return [total / steps for total in sums]

    def epoch(self, number):
        start = time.perf_counter()
        clusterings = self.e_step() if number > 0 else []
        middle = time.perf_counter()
        rate = 0.5 * self.options.lr * (1 + math.cos(math.pi * number / self.options.epochs))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        instance, prototype = self.m_step(clusterings)
        return {
            "e_step_seconds": middle - start,
            "m_step_seconds": time.perf_counter() - middle,
            "loss_instance": instance,
            "loss_prototype": prototype,
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--stem", choices=["cifar", "imagenet"], required=True)
    parser.add_argument("--blur", choices=["on", "off"], required=True)
    parser.add_argument("--precision", choices=["f32", "bf16"], required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--clusters", type=lambda text: [int(k) for k in text.split(",")], required=True)
    parser.add_argument("--queue", type=int, required=True)
    parser.add_argument("--negatives", type=int, required=True)
    parser.add_argument("--momentum", type=float, required=True)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--weight-decay", type=float, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    random.seed(0)
    torch.manual_seed(0)
    pcl = Pcl(options)
    epochs = [pcl.epoch(number) for number in range(options.epochs)]
    print(json.dumps({"images": len(pcl.still.dataset), "epochs": epochs}), flush=True)


if __name__ == "__main__":
    main()

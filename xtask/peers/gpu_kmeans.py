"""Times iterations of k-means by another program on a GPU and prints one line of JSON.

All begin from rows evenly drawn, take every point in every iteration and do not stop early. The
seconds are those of one iteration, without what comes before and after them; PyTorch's and
flash-kmeans's points are on the device before, faiss copies its from the host in each iteration.
`--device cpu` is for trying the script out.
"""

import argparse
import importlib.metadata
import json
import statistics
import time

import numpy as np

# Scores of a chunk of points, at most.
SCORES = 1 << 30


def finished(device):
    """Now, when all that the device was asked for is done."""
    import torch

    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def torch_step(points, centroids, kind):
    """The usual way: products, the lowest score, sums by index."""
    import torch

    k = len(centroids)
    half = kind == "torch-bf16"
    others = (centroids.bfloat16() if half else centroids).T
    lengths = (centroids * centroids).sum(1)
    labels = torch.empty(len(points), dtype=torch.long, device=points.device)
    rows = max(1, SCORES // k)
    for begin in range(0, len(points), rows):
        some = points[begin : begin + rows]
        scores = (some.bfloat16() if half else some) @ others
        labels[begin : begin + rows] = torch.argmin(lengths - 2 * scores, 1)
    sums = torch.zeros_like(centroids).index_add_(0, labels, points)
    counts = torch.bincount(labels, minlength=k).unsqueeze(1)
    return torch.where(counts > 0, sums / counts.clamp(min=1), centroids)


def by_torch(points, start, iterations, kind, device):
    import torch

    torch.set_float32_matmul_precision("high" if kind == "torch-tf32" else "highest")
    points, centroids = (torch.from_numpy(x).to(device) for x in (points, start))
    times = []
    for _ in range(iterations + 1):
        begin = finished(device)
        centroids = torch_step(points, centroids, kind)
        times.append(finished(device) - begin)
    return statistics.median(times[1:]), torch.__version__


def by_faiss(points, start, iterations, kind, device):
    import faiss

    columns = points.shape[1]
    if device == "cpu":
        index = faiss.IndexFlatL2(columns)
    else:
        resources = faiss.StandardGpuResources()
        index = faiss.GpuIndexFlatL2(resources, columns, faiss.GpuIndexFlatConfig())
    clustering = faiss.Clustering(columns, len(start))
    clustering.niter = iterations + 1
    clustering.max_points_per_centroid = len(points)
    clustering.min_points_per_centroid = 1
    clustering.check_input_data_for_NaNs = False
    faiss.copy_array_to_vector(start.ravel(), clustering.centroids)
    clustering.train(points, index)
    stats = clustering.iteration_stats
    # Told from the beginning of the first iteration on.
    ends = [stats.at(i).time for i in range(stats.size())]
    return statistics.median(np.diff(ends)), faiss.__version__


def by_flash(points, start, iterations, kind, device):
    import torch

    if device == "cpu":
        from flash_kmeans.torch_fallback import batch_kmeans_Euclid_torch_native as fit
    else:
        from flash_kmeans import batch_kmeans_Euclid as fit
    points, start = (torch.from_numpy(x).to(device).unsqueeze(0) for x in (points, start))

    def seconds(count):
        begin = finished(device)
        fit(points, len(start[0]), max_iters=count, tol=-1.0, init_centroids=start.clone())
        return finished(device) - begin

    # What is prepared once, and compiled, is in both.
    seconds(1)
    one, more = seconds(1), seconds(1 + iterations)
    return (more - one) / iterations, importlib.metadata.version("flash-kmeans")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    programs = {"torch-f32": by_torch, "torch-tf32": by_torch, "torch-bf16": by_torch, "faiss": by_faiss, "flash": by_flash}
    parser.add_argument("program", choices=programs)
    parser.add_argument("points", help="raw little-endian 32-bit floats")
    for name in ("n", "k", "d", "iterations"):
        parser.add_argument(name, type=int)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    points = np.fromfile(options.points, "<f4").reshape(options.n, options.d)
    start = points[np.arange(options.k, dtype=np.int64) * options.n // options.k]
    seconds, version = programs[options.program](points, start, options.iterations, options.program, options.device)
    print(json.dumps({"seconds": seconds, "version": version}), flush=True)


if __name__ == "__main__":
    main()

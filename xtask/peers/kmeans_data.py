"""Makes what k-means is timed on: arrays of 32-bit floats in .npy files, the same ones each time.

points:     a generated set of unit vectors
drifted:    where given unit vectors may have been some time before
centroids:  rows drawn without replacement, to begin with
shape:      checks somebody's own array and prints its size
"""

import argparse
import os

import numpy as np

DIMENSIONS = 128


def normalised(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def sphere(count):
    """Directions without any clusters: the hardest case for whatever leaves out centroids."""
    draw = np.random.default_rng(50)
    return normalised(draw.standard_normal((count, DIMENSIONS), dtype=np.float32))


def mixture(count, families=300, members=20):
    """Clusters within clusters of different sizes, as embeddings of images tend to have.

    Few directions hold most of the variance (it falls as 1/rank), and a rotation spreads them
    over all coordinates.
    """
    draw = np.random.default_rng(200)
    scale = 1 / np.sqrt(np.arange(1, DIMENSIONS + 1))
    scale = (scale / np.linalg.norm(scale)).astype(np.float32)

    def spread(rows):
        return draw.standard_normal((rows, DIMENSIONS), dtype=np.float32) * scale

    clusters = families * members
    centres = np.repeat(spread(families), members, axis=0) + np.float32(0.8) * spread(clusters)
    shares = draw.dirichlet(np.full(clusters, 2.0))
    chosen = draw.choice(clusters, size=count, p=shares)
    points = centres[chosen] + np.float32(0.9) * spread(count)
    rotation, _ = np.linalg.qr(draw.standard_normal((DIMENSIONS, DIMENSIONS)))
    return normalised(points @ rotation.astype(np.float32))


SETS = {"sphere50k": lambda: sphere(50_000), "mixture200k": lambda: mixture(200_000)}


def drifted(points, cosine):
    """Unit vectors at about this cosine from the given ones, each gone its own way."""
    draw = np.random.default_rng(98)
    away = normalised(draw.standard_normal(points.shape, dtype=np.float32))
    return normalised(points * cosine + away * np.sqrt(1 - cosine**2))


def opened(path):
    """The array, mapped, if it is one that both programs take."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path} cannot be read ({error}); write it with numpy.save")
    if array.ndim != 2 or array.dtype != np.float32 or not array.flags.c_contiguous:
        raise SystemExit(
            f"{path} holds {array.dtype} of shape {array.shape}; it must be points by columns of "
            "32-bit floats in row order: numpy.save(path, numpy.ascontiguousarray(x, 'float32'))"
        )
    return array


def centroids(points, k):
    if k > len(points):
        raise SystemExit(f"{len(points)} points cannot give {k} centroids; give at least {k} points")
    rows = np.random.default_rng(k).choice(len(points), size=k, replace=False)
    return points[np.sort(rows)]


def save(path, array):
    """Whole or not at all."""
    aside = path + ".new"
    with open(aside, "wb") as file:
        np.save(file, np.ascontiguousarray(array, dtype=np.float32))
    os.replace(aside, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    task = tasks.add_parser("points")
    task.add_argument("set", choices=SETS)
    task.add_argument("out")
    task = tasks.add_parser("drifted")
    task.add_argument("points")
    task.add_argument("cosine", type=float)
    task.add_argument("out")
    task = tasks.add_parser("centroids")
    task.add_argument("points")
    task.add_argument("k", type=int)
    task.add_argument("out")
    task = tasks.add_parser("shape")
    task.add_argument("points")
    options = parser.parse_args()
    if options.task == "points":
        save(options.out, SETS[options.set]())
    elif options.task == "drifted":
        save(options.out, drifted(opened(options.points), options.cosine))
    elif options.task == "centroids":
        save(options.out, centroids(opened(options.points), options.k))
    else:
        print(*opened(options.points).shape, sep=" × ")


if __name__ == "__main__":
    main()

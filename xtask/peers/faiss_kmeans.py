"""Times faiss's k-means from given centroids and prints one line of JSON.

The objectives of the iterations are faiss's own, before each update. The last one, of the final
centroids over all points, is summed here in 64 bits from the differences, so that the rounding of
faiss's distances is not in it.
"""

import argparse
import ctypes
import json
import time

import faiss
import numpy as np

CHUNK = 10_000


def cluster(points, start, iterations):
    """The clustering after its iterations, and the seconds of all of them."""
    columns = points.shape[1]
    clustering = faiss.Clustering(columns, len(start))
    clustering.niter = iterations
    # Every point, every iteration.
    clustering.max_points_per_centroid = len(points)
    clustering.min_points_per_centroid = 1
    clustering.early_stop_threshold = -1.0
    # What is timed is the iterations.
    clustering.check_input_data_for_NaNs = False
    faiss.copy_array_to_vector(start.ravel(), clustering.centroids)
    index = faiss.IndexFlatL2(columns)
    begin = time.perf_counter()
    clustering.train(points, index)
    return clustering, time.perf_counter() - begin


def objective(points, centroids):
    """Sum of the squared distances to the nearest centroids."""
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(centroids)
    total = 0.0
    for begin in range(0, len(points), CHUNK):
        chunk = points[begin : begin + CHUNK]
        _, nearest = index.search(chunk, 1)
        apart = (chunk - centroids[nearest[:, 0]]).astype(np.float64)
        total += float(np.vdot(apart, apart))
    return total


def blas():
    """The processor that OpenBLAS, faiss's own copy of it, has its kernels for."""
    with open("/proc/self/maps") as maps:
        files = {line.split()[-1] for line in maps if "openblas" in line and "faiss" in line}
    for file in files:
        name = getattr(ctypes.CDLL(file), "openblas_get_corename", None)
        if name is not None:
            name.restype = ctypes.c_char_p
            return name().decode()
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True)
    parser.add_argument("--init", required=True)
    parser.add_argument("--iters", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    faiss.omp_set_num_threads(options.threads)
    points = np.ascontiguousarray(np.load(options.input), dtype=np.float32)
    start = np.ascontiguousarray(np.load(options.init), dtype=np.float32)
    clustering, seconds = cluster(points, start, options.iters)
    stats = [clustering.iteration_stats.at(i) for i in range(clustering.iteration_stats.size())]
    centroids = faiss.vector_to_array(clustering.centroids).reshape(start.shape)
    print(json.dumps({
        "seconds": seconds,
        # Told from the beginning of the first iteration on.
        "seconds_per_iteration": stats[-1].time / len(stats),
        "iterations": len(stats),
        "objectives": [each.obj for each in stats],
        "objective": objective(points, centroids),
        "simd": faiss.SIMDConfig.get_level_name(),
        "blas": blas(),
        "threads": faiss.omp_get_max_threads(),
        "faiss": faiss.__version__,
        "numpy": np.__version__,
    }), flush=True)


if __name__ == "__main__":
    main()

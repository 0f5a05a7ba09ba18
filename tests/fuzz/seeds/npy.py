"""Writes the files in npy/ as numpy writes them: element types, orders, format versions, shapes."""

from pathlib import Path

import numpy as np

folder = Path(__file__).parent / "npy"
folder.mkdir(exist_ok=True)


def save(name, array, version=None):
    with open(folder / f"{name}.npy", "wb") as file:
        np.lib.format.write_array(file, array, version=version)


matrix = np.arange(6, dtype="<f4").reshape(2, 3)
for version in [(1, 0), (2, 0), (3, 0)]:
    save(f"f4_version{version[0]}", matrix, version)
save("f4_fortran", np.asfortranarray(matrix))
save("f4_strange_values", np.array([[np.nan, np.inf, -0.0], [-np.inf, 1e-45, 3e38]], dtype="<f4"))
for shape in [(0, 3), (3, 0), (0, 0), (1, 1), (7, 5), (6,), (0,), (1, 2, 3), ()]:
    save("f4_" + ("x".join(map(str, shape)) or "scalar"), np.zeros(shape, dtype="<f4"))
for dtype in [">f4", "<f2", "<f8", "<f16", "<i4", "<u4", "<i8", "|i1", "|u1", "|b1", "<c8", "<U3", "|S3", "<M8[s]", "<m8[ns]"]:
    save("dtype_" + dtype.strip("<|").replace(">", "big_").replace("[", "_").rstrip("]"), np.zeros((2, 3), dtype=dtype))
generator = np.random.default_rng(0)
for dtype in [">f8", "<f2", "<f8", ">i2", "<u2", "<i4", "<i8", "<u8", "|i1", "|u1"]:
    values = generator.normal(loc=64, scale=12, size=(70, 3)).astype(dtype)
    name = dtype.strip("<|").replace(">", "big_")
    save(f"values_{name}", values)
    save(f"values_fortran_{name}", np.asfortranarray(values))
save("structured", np.zeros((2, 3), dtype=[("x", "<f4"), ("y", "<f4", (2,))]))
save("structured_unicode", np.zeros((2,), dtype=[("größe", "<f4")]))
with open(folder / "object.npy", "wb") as file:
    np.lib.format.write_array(file, np.array([[None]], dtype=object), allow_pickle=True)

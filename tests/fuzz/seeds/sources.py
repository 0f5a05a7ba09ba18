"""Writes the files in tar/, list/, idx/, idx_labels/, cifar10/, cifar100/, stl10/, voc/, imagenet/, imagenet_train/, devkit/ and places/, and copies those in parquet/ and features/."""

import gzip
import io
import shutil
import struct
import tarfile
from pathlib import Path

seeds = Path(__file__).parent
fixtures = seeds / "../../../crates/protem-data/tests/fixtures/sources"


def save(target, name, data):
    (seeds / target).mkdir(exist_ok=True)
    (seeds / target / name).write_bytes(data)


def archive(members, form=tarfile.USTAR_FORMAT, linked=None):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        if linked:
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE):
                info = tarfile.TarInfo(f"other{kind.decode()}.png")
                info.type, info.linkname = kind, linked
                tar.addfile(info)
    return out.getvalue()


image = (seeds / "image/1.png").read_bytes()
folders = [("a/1.png", image), ("a/2.png", image), ("b/3.png", image)]
web = [("0.png", image), ("0.cls", b"1\n"), ("1.png", image), ("1.json", b'{"label": "cat"}')]
long = [("long/" * 40 + "1.png", image), ("ümlaut.png", image)]
save("tar", "folders.tar", archive(folders))
save("tar", "web.tar", archive(web))
save("tar", "web.tar.gz", gzip.compress(archive(web), mtime=0))
save("tar", "links.tar", archive(folders, linked="a/1.png"))
save("tar", "gnu.tar", archive(long, tarfile.GNU_FORMAT))
save("tar", "pax.tar", archive(long, tarfile.PAX_FORMAT))
save("tar", "links-gnu.tar", archive(long, tarfile.GNU_FORMAT, linked=long[0][0]))
save("tar", "links-pax.tar", archive(long, tarfile.PAX_FORMAT, linked=long[0][0]))

save("list", "plain.txt", b"a.png\nb/c d.jpg\n\n# remark\n/absolute.bmp\n")
save("list", "numbers.txt", b"a.png 0\nb.png 3\n")
save("list", "names.txt", "a.png\tcat\r\nb.png\tchien déjà vu\r\n".encode())

images = struct.pack(">4I", 0x803, 3, 2, 2) + bytes(range(12))
colours = struct.pack(">5I", 0x804, 1, 2, 2, 3) + bytes(range(12))
save("idx", "gray.idx", images)
save("idx", "colour.idx", colours)
save("idx", "gray.idx.gz", gzip.compress(images, mtime=0))

labels = struct.pack(">2I", 0x801, 2) + bytes([7, 2])
save("idx_labels", "two.idx", labels)
save("idx_labels", "two.idx.gz", gzip.compress(labels, mtime=0))

# Two lists of classes behind the one of images; two classes behind one image.
lists = [b"000005\n000007\n", b"000005  1\n000007 -1\n", b"000005  0\n000007  1\n"]
save("voc", "two.txt", b"\0".join(lists))
save("imagenet", "numbers.txt", b"c.JPEG 1\nd.JPEG 0\n")
save("imagenet", "annotations.txt", b"c.JPEG\tn01443537\t0\t0\t63\t63\nd.JPEG\tn01440764\t1\t2\t3\t4\n")
save("imagenet", "solution.csv", b"ImageId,PredictionString\nc,n01440764 1 2 3 4\nd,n01443537 5 6 7 8\n")

classes = [(f"n0144{c}.tar", archive([(f"n0144{c}_{i}.JPEG", b"image") for i in (1, 0)])) for c in (2, 1)]
save("imagenet_train", "two.tar", archive(classes))
save("imagenet_train", "gnu.tar", archive([("n01443.tar", archive(long, tarfile.GNU_FORMAT))], tarfile.GNU_FORMAT))

# What is compressed in them mutation does not reach.
meta = fixtures / "../devkit"
for order in ("plain", "compressed", "big-endian"):
    inside = "ILSVRC2012_devkit_t12/data"
    truth = (f"{inside}/ILSVRC2012_validation_ground_truth.txt", b"4\n1\n")
    save("devkit", f"{order}.tar", archive([(f"{inside}/meta.mat", (meta / f"{order}.mat").read_bytes()), truth]))
(seeds / "devkit").mkdir(exist_ok=True)
shutil.copyfile(meta / "ILSVRC2012_devkit_t12.tar.gz", seeds / "devkit/devkit.tar.gz")

save("places", "val.txt", b"a.jpg 1\n\0/a/airfield 0\n/a/airplane_cabin 1\n")

save("cifar10", "one.bin", bytes([7]) + bytes(3072))
save("cifar100", "one.bin", bytes([19, 99]) + bytes(3072))
save("stl10", "one.bin", bytes(96 * 96 * 3))

for way in ("none-plain-1", "gzip-dictionary-2", "snappy-plain-2", "snappy-dictionary-1", "lz4-plain-2", "zstd-plain-1", "zstd-dictionary-2"):
    (seeds / "parquet").mkdir(exist_ok=True)
    shutil.copyfile(fixtures / f"parquet-ways/{way}.parquet", seeds / f"parquet/{way}.parquet")
shutil.copyfile(fixtures / "parquet/test-00000-of-00001.parquet", seeds / "parquet/classes.parquet")

tables = fixtures / "../features"
(seeds / "features").mkdir(exist_ok=True)
for way in ("none-1-plain", "none-1-split", "gzip-2-dictionary", "snappy-2-plain", "snappy-1-dictionary", "lz4-2-split", "zstd-1-plain", "zstd-2-dictionary", "double", "required", "polars-array", "datasets"):
    shutil.copyfile(tables / f"read/{way}.parquet", seeds / f"features/{way}.parquet")
shutil.copyfile(tables / "same.parquet", seeds / "features/same.parquet")

"""Times torchvision's transforms on Pillow images at the jobs of `protem bench augment`, on one
thread, and prints one line of JSON.

An image is timed from its encoded bytes in memory (with --decoded, from its pixels) to the
normalised floats of its views. Seconds are processor time of the whole process.
"""

import argparse
import io
import json
import random
import statistics
import time
from pathlib import Path

import PIL
import torch
import torchvision
from PIL import Image, ImageFilter
from torchvision import transforms as T

EXTENSIONS = {".jpg", ".jpeg", ".png"}


class GaussianBlur:
    """PCL's blur, of Pillow."""

    def __call__(self, image):
        return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))


def floats():
    return [T.ToTensor(), T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]


def random_view(size, recipe, blur):
    """The transforms of PCL v1 or v2."""
    parts = [T.RandomResizedCrop(size, scale=(0.2, 1.0))]
    if recipe == "v1":
        parts += [T.RandomGrayscale(p=0.2), T.ColorJitter(0.4, 0.4, 0.4, 0.4)]
    else:
        parts += [T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8), T.RandomGrayscale(p=0.2)]
        if blur:
            parts += [T.RandomApply([GaussianBlur()], p=0.5)]
    return T.Compose([*parts, T.RandomHorizontalFlip(), *floats()])


def evaluation_view(size):
    return T.Compose([T.Resize(size * 8 // 7 if size > 32 else size), T.CenterCrop(size), *floats()])


def decoded(encoded):
    return Image.open(io.BytesIO(encoded)).convert("RGB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--what", choices=["views", "evaluation"], default="views")
    parser.add_argument("--recipe", choices=["v1", "v2"], default="v2")
    parser.add_argument("--blur", choices=["on", "off"], default="on")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--decoded", action="store_true")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--iters", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = sorted(f for f in Path(options.data).rglob("*") if f.suffix.lower() in EXTENSIONS)
    images = [file.read_bytes() for file in files[: options.images]]
    read = decoded
    if options.decoded:
        images = [decoded(image) for image in images]
        read = lambda image: image
    if options.what == "evaluation":
        view = evaluation_view(options.size)
    else:
        view = random_view(options.size, options.recipe, options.blur == "on")
    views = 1 if options.what == "evaluation" else options.views

    def work():
        for image in images:
            image = read(image)
            for _ in range(views):
                view(image)

    work()
    seconds = []
    for _ in range(options.iters):
        begin = time.process_time()
        work()
        seconds.append(time.process_time() - begin)
    median = statistics.median(seconds)
    print(json.dumps({
        "images": len(images),
        "median_seconds": median,
        "images_per_second": len(images) / median,
        "views_per_second": views * len(images) / median,
        "clock": "cpu",
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pillow": PIL.__version__,
    }), flush=True)


if __name__ == "__main__":
    main()

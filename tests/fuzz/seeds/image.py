"""Writes the files in image/ from a few generated pixels: every format and mode that Pillow writes,
and PNG and BMP variants that it does not."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

folder = Path(__file__).parent / "image"
folder.mkdir(exist_ok=True)

W, H = 19, 13
y, x = np.mgrid[:H, :W]
rgb = np.stack([x * 13 % 256, y * 19 % 256, (x * y) % 256], -1).astype("u1")
alpha = ((x + y) * 8 % 256).astype("u1")
picture = {
    "RGB": Image.fromarray(rgb),
    "L": Image.fromarray(rgb[..., 0]),
    "RGBA": Image.fromarray(np.dstack([rgb, alpha])),
    "LA": Image.fromarray(np.dstack([rgb[..., 0], alpha])),
    "I;16": Image.fromarray((x * 3000 + y * 7).astype("<u2")),
    "F": Image.fromarray((x / 7).astype("f4")),
    "1": Image.fromarray(rgb[..., 0]).convert("1"),
    "P": Image.fromarray(rgb).quantize(16),
    "CMYK": Image.fromarray(rgb).convert("CMYK"),
    "YCbCr": Image.fromarray(rgb).convert("YCbCr"),
}
exif = Image.Exif()
exif[0x0112] = 6


def save(name, mode, **how):
    picture[mode].save(folder / name, **how)


for mode in ["RGB", "L", "CMYK"]:
    save(f"{mode}.jpg", mode, quality=70)
    save(f"{mode}_progressive.jpg", mode, quality=70, progressive=True)
for name in ["4:4:4", "4:2:2", "4:2:0", "4:1:1"]:
    save(f"RGB_{name.replace(':', '')}.jpg", "RGB", subsampling=name)
save("RGB_restarts.jpg", "RGB", restart_marker_blocks=1)
save("RGB_kept.jpg", "RGB", keep_rgb=True)
save("RGB_exif.jpg", "RGB", exif=exif, comment=b"a comment", dpi=(72, 72))
save("RGB_16bit_tables.jpg", "RGB", qtables=[[300] * 64] * 2, quality=100)

for mode in ["RGB", "L", "RGBA", "LA", "I;16", "1", "P"]:
    save(f"{mode.replace(';', '')}.png", mode)
save("P_transparent.png", "P", transparency=3, bits=4)
save("RGB_transparent.png", "RGB", transparency=(0, 0, 0))
save("L_transparent.png", "L", transparency=0)
save("RGB_exif.png", "RGB", exif=exif, dpi=(72, 72), icc_profile=b"\0" * 128)
save("RGBA_animated.png", "RGBA", save_all=True, append_images=[picture["RGBA"].rotate(90)], duration=20)


def png(name, depth, color, channels, interlaced, values):
    """Filters in turn; Adam7 where interlaced; rows packed as PNG does."""
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    data = b""
    for left, top, right, down in passes:
        for number, row in enumerate(values[top::down, left::right].reshape(-1, len(range(left, W, right)) * channels)):
            if depth == 16:
                packed = row.astype(">u2").tobytes()
            else:
                bits = (row[:, None] >> np.arange(depth)[::-1]) & 1
                packed = np.packbits(bits.astype("u1")).tobytes()
            if packed:
                data += bytes([number % 5]) + packed

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", W, H, depth, color, 0, 0, interlaced))
    if color == 3:
        out += chunk(b"PLTE", bytes(range(48))[: 3 << min(depth, 4)]) + chunk(b"tRNS", b"\0\x80")
    out += chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    (folder / name).write_bytes(out)


for interlaced in [0, 1]:
    for depth in [1, 2, 4, 8, 16]:
        png(f"gray{depth}_{interlaced}.png", depth, 0, 1, interlaced, (x * y) % (1 << depth))
    for depth in [1, 2, 4]:
        png(f"palette{depth}_{interlaced}.png", depth, 3, 1, interlaced, (x + y) % (1 << depth))
    deep = np.dstack([rgb.astype(int) * 257, alpha.astype(int) * 257])
    png(f"rgb16_{interlaced}.png", 16, 2, 3, interlaced, deep[..., :3])
    png(f"rgba16_{interlaced}.png", 16, 6, 4, interlaced, deep)

for mode in ["RGB", "L", "RGBA", "1", "P"]:
    save(f"{mode}.bmp", mode)


def bmp(name, bits, compression, body, palette=b"", masks=b"", height=4):
    at = 14 + 40 + len(masks) + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, 4, height, 1, bits, compression, len(body), 0, 0, len(palette) // 4, 0)
    (folder / name).write_bytes(b"BM" + struct.pack("<IHHI", at + len(body), 0, 0, at) + info + masks + palette + body)


gray = b"".join(bytes([v * 16] * 3 + [0]) for v in range(16))
bmp("rle8.bmp", 8, 1, b"\x04\x01\0\0\0\x03\x01\x02\x03\0\x01\x04\0\0\0\x02\x01\x01\x02\x02\0\x01", gray)
bmp("rle4.bmp", 4, 2, b"\x04\x12\0\0\0\x04\x12\x34\0\0\x04\x56\0\0\x03\x11\0\x01", gray)
bmp("bits555.bmp", 16, 0, bytes(range(32)))
bmp("bits565.bmp", 16, 3, bytes(range(32)), masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F))
bmp("top_down.bmp", 32, 3, bytes(range(64)), masks=struct.pack("<III", 0xFF0000, 0xFF00, 0xFF), height=-4)

frames = [picture["P"], picture["P"].rotate(180), picture["P"].crop((2, 2, 9, 9))]
save("P.gif", "P", interlace=0)
save("P_interlaced.gif", "P", interlace=1)
save("P_animated.gif", "P", save_all=True, append_images=frames[1:2], duration=30, loop=0, transparency=2, disposal=2)
save("P_comment.gif", "P", comment=b"a comment")

save("RGB.webp", "RGB", quality=50)
save("RGB_lossless.webp", "RGB", lossless=True)
save("RGBA.webp", "RGBA", quality=50)
save("RGBA_lossless.webp", "RGBA", lossless=True, exact=True)
save("P_lossless.webp", "P", lossless=True)
save("RGB_exif.webp", "RGB", exif=exif)
for lossless in [False, True]:
    save(f"RGBA_animated_{int(lossless)}.webp", "RGBA", save_all=True, lossless=lossless,
         append_images=[picture["RGBA"].rotate(180)], duration=20)

for mode in ["RGB", "L", "RGBA", "LA", "I;16", "F", "1", "P", "CMYK", "YCbCr"]:
    save(f"{mode.replace(';', '')}.tiff", mode)
for compression in ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"]:
    save(f"RGB_{compression}.tiff", "RGB", compression=compression)
save("1_group4.tiff", "1", compression="group4")
save("L_predictor.tiff", "L", compression="tiff_lzw", tiffinfo={317: 2})
save("RGB_big.tiff", "RGB", big_tiff=True)

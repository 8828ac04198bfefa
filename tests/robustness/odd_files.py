"""Image files and tables that are odd, broken, or made to hurt, by name."""

import io
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tests.made import encoded, picture


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has so many pixels, and holds none of them."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    start = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", start) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(kind: str, side: int) -> bytes:
    """A whole image of one color: a few kilobytes that unpack to side * side pixels."""
    return saved(
        Image.new("1", (side, side)), kind, **({"optimize": True} if kind == "PNG" else {})
    )


def images() -> dict[str, bytes]:
    """Contents of image files."""
    small = picture(3, (20, 24))
    png, jpeg = encoded(1, (20, 24)), encoded(2, (20, 24), "JPEG")
    gray16 = Image.fromarray(np.arange(480, dtype=np.uint16).reshape(24, 20) * 130)
    frames = [picture(n, (16, 16)) for n in range(3)]
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "whole PNG": png,
        "whole JPEG": jpeg,
        "16-bit": saved(gray16, "PNG"),
        "CMYK": saved(small.convert("CMYK"), "JPEG"),
        "palette": saved(small.convert("P"), "PNG"),
        "palette, transparent": saved(small.convert("P"), "PNG", transparency=b"\0\x80\xff"),
        "gray and alpha": saved(small.convert("LA"), "PNG"),
        "one bit": saved(small.convert("1"), "PNG"),
        "floats": saved(small.convert("F"), "TIFF"),
        "32-bit": saved(small.convert("I"), "TIFF"),
        "animated GIF": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "animated PNG": saved(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "several pages": saved(frames[0], "TIFF", save_all=True, append_images=frames[1:]),
        "WebP": saved(small, "WEBP"),
        "turned": saved(small, "JPEG", exif=exif),
        "one pixel": encoded(4, (1, 1)),
        "one row": encoded(5, (700, 1)),
        "one column": encoded(6, (1, 700)),
        "empty": b"",
        "text": b"<html>404 not found</html>\n",
        "zeros": bytes(3000),
        "cut PNG": png[: len(png) // 2],
        "cut JPEG": jpeg[: len(jpeg) * 2 // 3],
        "JPEG's start": jpeg[:4],
        "changed PNG": png[:60] + bytes(20) + png[80:],
        "changed JPEG": jpeg[:200] + b"\xff" * 30 + jpeg[230:],
        "bad EXIF": jpeg[:2] + b"\xff\xe1\x00\x10Exif\0\0MM\0\x2a\xff\xff\xff\xff" + jpeg[2:],
        "no pixels": png_header(0, 0),
        "huge header": png_header(2**31 - 1, 2**31 - 1),
        "large header": png_header(12_000, 12_000),
        "bomb": bomb("PNG", 11_000),
        "TIFF bomb": saved(Image.new("1", (10_000, 10_000)), "TIFF", compression="group4"),
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(touched) (w) file\n",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "pickle": pickle.dumps(list(range(99))),
    }


def numbers_table(line: str) -> bytes:
    return ("path,coarse,fine,partition\n" + line).encode()


def tables() -> dict[str, bytes]:
    """Contents of labels.csv, beside the files 0.png ... 9.png."""
    rows = [f"{n}.png,c{n % 2},f{n % 4},{'train' if n < 6 else 'val'}" for n in range(10)]
    whole = "path,coarse,fine,partition\n" + "\n".join(rows) + "\n"
    return {
        "whole": whole.encode(),
        "with a mark": whole.encode("utf-8-sig"),
        "returns": whole.replace("\n", "\r\n").encode(),
        "old returns": whole.replace("\n", "\r").encode(),
        "empty": b"",
        "header alone": b"path,coarse\n",
        "no coarse": b"path,label\n0.png,x\n",
        "no path": b"file,coarse\n0.png,x\n",
        "header twice": b"path,path,coarse,coarse\n0.png,1.png,x,y\n",
        "no header": b"0.png,x\n1.png,y\n",
        "short rows": b"path,coarse,fine\n0.png\n1.png,x\n",
        "long rows": b"path,coarse\n0.png,x,y,z,a,b\n1.png,y,,,,\n",
        "absolute": numbers_table("/etc/passwd,x,y,train\n"),
        "upwards": numbers_table("../../../../../etc/passwd,x,y,train\n"),
        "upwards inside": numbers_table("a/../0.png,x,y,train\n1.png,z,w,train\n"),
        "a folder": numbers_table(".,x,y,train\n"),
        "a device": numbers_table("/dev/zero,x,y,train\n"),
        "duplicates": numbers_table("0.png,x,y,train\n0.png,x,y,train\n"),
        "duplicates, spelled": numbers_table("0.png,x,y,train\n./0.png,x,y,train\n"),
        "Latin-1": whole.replace("c0", "größe").encode("latin-1"),
        "UTF-16": whole.encode("utf-16"),
        "NUL": whole.replace("c0", "c\0").encode(),
        "NUL in a path": whole.replace("3.png", "3\0.png").encode(),
        "open quote": b'path,coarse\n"0.png,x\n1.png,y\n',
        "quotes": b'path,coarse\n"0.png","a ""b"" c"\n"1.png","d, e"\n',
        "line in a class": b'path,coarse\n0.png,"a\nb"\n1.png,c\n',
        "line in a path": b'path,coarse\n"0\n.png",a\n1.png,c\n',
        "long path": numbers_table("a" * 5000 + ".png,x,y,train\n"),
        "long field": b"path,coarse\n0.png," + b"x" * 200_000 + b"\n",
        "semicolons": whole.replace(",", ";").encode(),
        "wrong partition": numbers_table("0.png,x,y,training\n"),
        "half fine": numbers_table("0.png,x,y,train\n1.png,x,,train\n"),
        "two homes": numbers_table("0.png,x,f,train\n1.png,y,f,train\n"),
        "one class": numbers_table("0.png,x,f,train\n1.png,x,f,train\n"),
        "formula": b"path,coarse\n0.png,=cmd|'/C calc'!A0\n1.png,@SUM(1)\n",
        "escapes": "path,coarse\n0.png,\x1b[31mred\n1.png,\u202eleft\n".encode(),
        "picture": encoded(1, (8, 8)),
    }


def idx(kind: int, sizes: tuple[int, ...], content: bytes) -> bytes:
    return bytes([0, 0, kind, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + content


def idx_files() -> dict[str, bytes]:
    """Contents of IDX files, of images or labels."""
    pixels = bytes(range(196)) * 4 * 60
    return {
        "images": idx(8, (60, 28, 28), pixels),
        "labels": idx(8, (60,), bytes(range(10)) * 6),
        "labels beyond": idx(8, (60,), bytes(range(60))),
        "fewer labels": idx(8, (59,), bytes(59)),
        "cut": idx(8, (60, 28, 28), pixels)[:-9],
        "no image": idx(8, (0, 28, 28), b""),
        "no label": idx(8, (0,), b""),
        "flat": idx(8, (60, 0, 28), b""),
        "narrow": idx(8, (60, 1, 1), bytes(60)),
        "floats": idx(13, (60,), bytes(240)),
        "huge": idx(8, (2**32 - 1, 2**32 - 1, 2**32 - 1), b"x"),
        "wraps to nothing": idx(8, (2**31, 2**31, 4), b""),
        "empty": b"",
        "start": bytes([0, 0, 8]),
        "gzip, cut": b"\x1f\x8b\x08\0\0\0\0\0\0\x03K",
        "gzip bomb": zlib_bomb(),
        "text": b"hello\n",
    }


def zlib_bomb() -> bytes:
    """A gzip file of 20 kB that unpacks to 20 MB."""
    import gzip

    return gzip.compress(bytes(20 * 2**20), 6)


def write_all(folder: Path, contents: dict[str, bytes]) -> None:
    """Write files by their names in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)

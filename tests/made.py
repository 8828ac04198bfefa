"""Small datasets in the exact layouts of the real ones."""

import io
import pickle
from pathlib import Path

import numpy as np
from PIL import Image


def picture(number: int, size: tuple[int, int] = (12, 10)) -> Image.Image:
    """Make an RGB image that differs from those of other numbers."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def write(path: Path, number: int = 0, size: tuple[int, int] = (12, 10)) -> Path:
    """Write an image file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else None
    picture(number, size).save(path, kind)
    return path


def encoded(number: int, size: tuple[int, int] = (84, 84), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture(number, size).save(buffer, kind)
    return buffer.getvalue()


def imagenet(root: Path, wnids: list[str], images: int = 2, bare: bool = False) -> None:
    """Write train/ and val/ folders of classes, each file a copy of one JPEG."""
    content = encoded(0, (12, 10), "JPEG")
    base = root if bare else root / "Data" / "CLS-LOC"
    for split in ("train", "val"):
        for wnid in wnids:
            folder = base / split / wnid
            folder.mkdir(parents=True)
            for number in range(images):
                (folder / f"{wnid}_{number}.JPEG").write_bytes(content)


def tiered(root: Path, images: int = 3, classes: int = 4, as_array: bool = False) -> None:
    """Write the six pickles: fine class f lies in coarse class f % 2, labels run round."""
    root.mkdir(parents=True, exist_ok=True)
    for first, split in enumerate(("train", "val", "test")):
        fine = np.arange(images * classes) % classes
        items = [encoded(1000 * first + n) for n in range(len(fine))]
        if as_array:
            items = np.array(items, dtype=object)
        labels = {
            "label_specific": fine,
            "label_general": fine % 2,
            "label_specific_str": [f"{split} fine {n}" for n in range(classes)],
            "label_general_str": [f"{split} coarse {n}" for n in range(2)],
        }
        (root / f"{split}_images_png.pkl").write_bytes(pickle.dumps(items))
        (root / f"{split}_labels.pkl").write_bytes(pickle.dumps(labels))


def cifar100(root: Path, images: int = 2, classes: int = 100) -> None:
    """Write the three pickles with bytes keys: fine class f lies in coarse class f % 20."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for seed, name in enumerate(("train", "test")):
        rng = np.random.default_rng(seed)
        fine = rng.permutation(np.repeat(np.arange(classes), images))
        batch = {
            b"data": rng.integers(0, 256, (len(fine), 3072), dtype=np.uint8),
            b"fine_labels": fine.tolist(),
            b"coarse_labels": (fine % 20).tolist(),
            b"filenames": [b"x.png"] * len(fine),
        }
        (folder / name).write_bytes(pickle.dumps(batch, 2))
    meta = {
        b"fine_label_names": [b"fine %d" % n for n in range(classes)],
        b"coarse_label_names": [b"coarse %d" % n for n in range(20)],
    }
    (folder / "meta").write_bytes(pickle.dumps(meta, 2))


def aircraft(root: Path, images: int = 2) -> None:
    """Write four variants of two families, all of one manufacturer but one."""
    data = root / "fgvc-aircraft-2013b" / "data"
    variants = {"707-320": ("707", "Boeing"), "727-200": ("727", "Boeing")}
    variants |= {"737-200": ("727", "Boeing"), "A300B4": ("A300", "Airbus")}
    data.mkdir(parents=True)
    levels = {
        "variant": {name: name for name in variants},
        "family": {name: family for name, (family, _) in variants.items()},
        "manufacturer": {name: maker for name, (_, maker) in variants.items()},
    }
    for level, label_of in levels.items():
        plural = {"variant": "variants", "family": "families", "manufacturer": "manufacturers"}
        names = dict.fromkeys(label_of.values())
        (data / f"{plural[level]}.txt").write_text("".join(f"{name}\n" for name in names))
    for start, split in enumerate(("train", "val", "test")):
        lines = [(f"{start}{n:06d}", name) for n, name in enumerate(list(variants) * images)]
        for number, _ in lines:
            write(data / "images" / f"{number}.jpg", int(number))
        for level, label_of in levels.items():
            text = "".join(f"{number} {label_of[name]}\n" for number, name in lines)
            (data / f"images_{level}_{split}.txt").write_text(text)


# Of Grocery Store: fine classes with the folders that the authors keep them in.
GROCERIES = {
    "Golden-Delicious": "Fruit/Apple",
    "Granny-Smith": "Fruit/Apple",
    "Banana": "Fruit",
    "Arla-Standard-Milk": "Packages/Milk",
    "Garant-Ecological-Medium-Fat-Milk": "Packages/Milk",
}


def grocery(root: Path, images: int = 4) -> None:
    """Write three coarse classes, of which Banana has one fine class, in the authors' layout.

    The third fine class has no validation image.
    """
    kinds = {name: Path(folder, name).parts[1] for name, folder in GROCERIES.items()}
    coarse = list(dict.fromkeys(kinds.values()))
    root.mkdir(parents=True, exist_ok=True)
    header = "Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),"
    rows = [header + "Iconic Image Path (str),Product Description Path (str)"]
    for number, (name, kind) in enumerate(kinds.items()):
        about = f"/iconic-images-and-descriptions/{GROCERIES[name]}/{name}/{name}"
        rows.append(
            f"{name},{number},{kind},{coarse.index(kind)},{about}_Iconic.jpg,{about}_Description.txt"
        )
    (root / "classes.csv").write_text("\n".join(rows) + "\n")
    for start, split in enumerate(("train", "val", "test")):
        lines = []
        for number, (name, folder) in enumerate(GROCERIES.items()):
            for image in range(0 if (split, number) == ("val", 2) else images):
                path = f"{split}/{folder}/{name}/{name}_{image + 1:03d}.jpg"
                write(root / path, 1000 * start + 100 * number + image, (64, 48))
                lines.append(f"{path}, {number}, {coarse.index(kinds[name])}")
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")

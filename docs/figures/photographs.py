"""Draw runs/photographs.png (copied to docs/images): photographs and the answers that they get.

    python docs/figures/photographs.py --data GroceryStoreDataset --model-path FILE

Five labeled training photographs of each product are drawn by the seed, and one test photograph of
each of some kinds that have several products. Below each is the labeled photograph of the answer
that is most like it. Nothing is chosen by what comes out. The photographs are Grocery Store's
(Klasson, Zhang and Kjellström, WACV 2019; MIT licence).
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import ancor  # noqa: E402
from ancor.data.partition import Partition  # noqa: E402

SHOTS, SHOWN, SIDE = 5, 8, 168
RIGHT, WRONG = "#007a56", "#b34a00"


def drawn(partition: Partition, rng: np.random.Generator) -> list[int]:
    """Draw SHOTS images of each product; return their numbers."""
    labels = partition.labels("fine")
    each = (np.flatnonzero(labels == label) for label in np.unique(labels))
    return [n for numbers in each for n in rng.choice(numbers, SHOTS, replace=False).tolist()]


def asked(partition: Partition, rng: np.random.Generator) -> list[int]:
    """Draw an image of each of SHOWN kinds that have several products."""
    kinds = Counter(partition.hierarchy.coarse_of_fine)
    several = [kind for kind, products in kinds.items() if products > 1]
    coarse = partition.labels("coarse")
    chosen = rng.choice(several, SHOWN, replace=False)
    return [int(rng.choice(np.flatnonzero(coarse == kind))) for kind in chosen]


def show(axes: Axes, image: Image.Image) -> None:
    """Show the middle square of a photograph."""
    axes.imshow(ImageOps.fit(image.convert("RGB"), (SIDE, SIDE)))
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color="#999999", linewidth=0.6)


def words(name: str) -> str:
    """Break a product's name into two lines."""
    parts = name.split("-")
    half = (len(parts) + 1) // 2
    return "\n".join([" ".join(parts[:half]), " ".join(parts[half:])])


def main() -> None:
    """Classify all test photographs, and draw some."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of Grocery Store's photographs")
    parser.add_argument("--model-path", required=True, help="what ancor.load_encoder takes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="runs/photographs.png")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    data = ancor.load_dataset("grocery", args.data)
    known, test = data["train"], data["test"]
    names = np.array(test.hierarchy.fine_names)
    labeled, shown = drawn(known, rng), asked(test, rng)
    encoder = ancor.load_encoder(args.model_path, quiet=False)
    taught = encoder.features([known.images[n] for n in labeled])
    queries = encoder.features([test.images[n] for n in range(len(test))])
    told = names[known.labels("fine")[labeled]]
    classifier = ancor.FewShotClassifier(encoder, n_augmentations=0).fit(taught, told)
    chances, truth = classifier.predict_proba(queries), names[test.labels("fine")]
    answers = classifier.classes_[chances.argmax(1)]
    alike = (queries.vectors @ taught.vectors.T).numpy()
    figure = Figure(figsize=(SHOWN * 1.5, 3.95), layout="constrained")
    panels = figure.subplots(2, SHOWN)
    for (above, below), number in zip(panels.T, shown, strict=True):
        answer, right = answers[number], answers[number] == truth[number]
        show(above, test.images[number])
        line = f"{'✓' if right else '✗'} {words(answer)}\n{100 * chances[number].max():.0f}%"
        above.set_title(line, fontsize=9, color=RIGHT if right else WRONG)
        mates = np.flatnonzero(told == answer)
        show(below, known.images[labeled[mates[alike[number, mates].argmax()]]])
        if not right:
            above.set_xlabel(f"it is {words(truth[number])}", fontsize=8)
    panels[0, 0].set_ylabel("photograph, answer", fontsize=9)
    panels[1, 0].set_ylabel("most alike of the\nanswer's five", fontsize=9)
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output, dpi=110)
    Image.open(args.output).convert("RGB").quantize(256, kmeans=2).save(args.output, optimize=True)
    print(f"Right: {100 * np.mean(answers == truth):.1f}% of {len(test)}; of those shown")
    for number in shown:
        print(f"  {truth[number]}: {answers[number]} {chances[number].max():.3f}")
    print(f"Mean probability {100 * chances.max(1).mean():.1f}%; wrote {args.output}")


if __name__ == "__main__":
    main()

"""Few-shot evaluation: our bank and batched classifiers against a plain loop over episodes.

The loop, written out below, does what evaluation scripts usually do: for every episode it decodes,
augments and passes all images, and fits scikit-learn's logistic regression. It is timed on a few
episodes and extrapolated to all. Both see the same episodes; images are random, or Fashion-MNIST's.

    python benchmarks/evaluation.py --arch resnet12                       # random images
    python benchmarks/evaluation.py --arch resnet12 --precision bf16
    python benchmarks/evaluation.py --dataset fashion-mnist --arch conv4
    python benchmarks/evaluation.py --classifier-only                      # LR against scikit-learn
    python benchmarks/evaluation.py --ridge --features runs/grocery.npz     # Ridge against LR
"""

import argparse
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parents[1]))

from ancor.data.config import DataConfig
from ancor.data.episodes import Episode, EpisodeSampler, Protocol
from ancor.data.images import ColorImages
from ancor.data.partition import Images
from ancor.data.transform_spec import TransformSpec
from ancor.data.transforms import normalize, query_transform, support_transform
from ancor.data.views import EvaluationViews
from ancor.evaluation.classifiers import EpisodeBatch, build_classifier
from ancor.evaluation.feature_bank import FeatureBank
from ancor.evaluation.feature_cache import FeatureCache
from ancor.evaluation.plan import mean_and_interval, plan_evaluations, support_views
from ancor.evaluation.predictors import single
from ancor.evaluation.scoring import run_parallel, score
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from ancor.runtime.devices import Runtime

CPU = torch.device("cpu")
RANDOM = ((81, 1280), (142, 1280), (142, 256))  # classes and features of what Ridge is timed on
ROUNDS = 3  # of which each classifier's quickest counts


def plain_loop(
    args: argparse.Namespace,
    encoder: Encoder,
    images: Images,
    spec: TransformSpec,
    episodes: list[Episode],
    protocol: Protocol,
    first: int,
) -> tuple[np.ndarray, float]:
    """Evaluate episode by episode; return accuracies and seconds an episode."""
    transforms = query_transform(spec), support_transform(spec)
    runtime = Runtime.named(CPU, args.precision)

    def encode(pairs: np.ndarray) -> np.ndarray:
        views = EvaluationViews(images, pairs, *transforms, seed=0)
        features = []
        for start in range(0, len(pairs), 64):
            batch = torch.stack([views[n] for n in range(start, min(start + 64, len(pairs)))])
            with torch.inference_mode(), runtime.autocast():
                features.append(encoder(normalize(batch, spec)).features.float())
        return torch.nn.functional.normalize(torch.cat(features), dim=1).numpy()

    scores, started = [], perf_counter()
    for number, episode in enumerate(episodes):
        drawn = support_views(episode, protocol, args.views, first + number, 0)
        support = encode(np.stack([episode.support, drawn], axis=1))
        query = encode(np.stack([episode.query, np.full_like(episode.query, -1)], axis=1))
        model = LogisticRegression(C=1.0, max_iter=1000, tol=1e-6)
        found = model.fit(support, episode.support_labels).predict(query)
        scores.append(np.mean(found == episode.query_labels))
    return np.array(scores), (perf_counter() - started) / len(episodes)


def compare(args: argparse.Namespace) -> None:
    """Time both ways and print a table."""
    torch.manual_seed(0)
    if args.dataset == "random":
        spec, labels = DataConfig("cifar100").transforms, np.arange(10_000) % 100
        pixels = np.random.default_rng(0).integers(0, 256, (10_000, 3, 32, 32), dtype=np.uint8)
        sampler, images = EpisodeSampler(labels), ColorImages(pixels)
    else:
        data = DataConfig(args.dataset)
        partition, spec = data.load("test"), data.transforms
        sampler, images = EpisodeSampler.of(partition, "fine"), partition.images
    encoder = Encoder(EncoderConfig(args.arch, num_classes=10)).eval()
    protocols = [Protocol(5), Protocol(1000)]
    started = perf_counter()
    plan = plan_evaluations(sampler, protocols, args.episodes, args.views, 0, spec)
    planned = perf_counter() - started

    def bank(cache: FeatureCache | None = None) -> FeatureBank:
        runtime = Runtime.named(CPU, args.precision, workers=args.workers)
        return FeatureBank(encoder, images, spec, runtime, cache=cache)

    with tempfile.TemporaryDirectory() as folder:
        cold_bank = bank(FeatureCache(Path(folder), {}, bank().width))
        started = perf_counter()
        ours = list(score(plan, [cold_bank], single("LR")))
        cold = planned + perf_counter() - started
        started = perf_counter()
        warm_bank = bank(FeatureCache(Path(folder), {}, bank().width))
        list(score(plan, [warm_bank], single("LR")))
        warm = planned + perf_counter() - started
    print(f"{args.dataset}, {args.arch}, {args.precision}, {torch.get_num_threads()} threads")
    uses = [sum(len(e.support) + len(e.query) for e in episodes) for episodes in plan.episodes]
    print(f"network passes: loop {sum(uses)}, ours {len(plan.pairs)}")
    total = 0.0
    for which, sampled in enumerate((args.loop_small, args.loop_large)):
        first, episodes = which * args.episodes, plan.episodes[which][:sampled]
        scores, each = plain_loop(args, encoder, images, spec, episodes, protocols[which], first)
        total += each * args.episodes
        mean, half = mean_and_interval(ours[which].accuracies)
        print(
            f"{len(episodes[0].classes)}-way: loop {each:.3f} s an episode (of {sampled}); "
            f"accuracy there {100 * scores.mean():.3f}, ours on the same "
            f"{100 * ours[which].accuracies[:sampled].mean():.3f}, on all "
            f"{100 * mean:.2f} ± {100 * half:.2f}"
        )
    print("| way | seconds | ratio |\n| --- | --- | --- |")
    for name, seconds in (("plain loop, extrapolated", total), ("ours", cold), ("warm", warm)):
        print(f"| {name} | {seconds:.1f} | {total / seconds:.1f} |")


def compare_classifiers(args: argparse.Namespace) -> None:
    """Time logistic regression alone on random features."""
    for ways, width, count, looped in ((5, 2048, 1000, 20), (68, 2048, 100, 2), (100, 640, 50, 2)):
        batch = random_episodes(count, ways, 5, width)
        support, labels, _, query = batch[:4]
        parts = list(batch.split(max(1, 2**25 // (20 * ways * width * 4))))
        ours = build_classifier("LR")
        list(run_parallel(ours, parts[:2], CPU))
        started = perf_counter()
        list(run_parallel(ours, parts, CPU))
        mine = (perf_counter() - started) / count
        theirs = []
        for threads in (None, 1):  # its small fits are quicker on one
            with threadpool_limits(threads):
                started = perf_counter()
                for number in range(looped):
                    model = LogisticRegression(max_iter=1000).fit(support[number], labels[number])
                    model.predict(query[number])
                theirs.append((perf_counter() - started) / looped)
        every, one = theirs
        print(
            f"{ways}-way, {5 * ways} x {width}: scikit-learn {1e3 * every:.2f} ms, on one thread "
            f"{1e3 * one:.2f}, ours {1e3 * mine:.2f} ms an episode: {min(theirs) / mine:.1f} times"
        )


def random_episodes(count: int, ways: int, shots: int, width: int) -> EpisodeBatch:
    """Draw features of classes that are far apart: LR is at its optimum in a few steps."""
    rng = np.random.default_rng(0)
    means, common = rng.normal(size=(count, 1, ways, width)), 2 * rng.random(width)
    draws = [means + 0.8 * rng.normal(size=(count, n, ways, width)) for n in (shots, 15)]
    vectors = [np.maximum(d.reshape(count, -1, width) + common, 0) for d in draws]
    vectors = [v / np.linalg.norm(v, axis=2, keepdims=True) for v in vectors]
    support, query = (torch.from_numpy(v).float() for v in vectors)
    labels = torch.arange(ways).repeat(shots).expand(count, -1)
    ids = torch.arange(shots * ways).expand(count, -1)
    return EpisodeBatch(support, labels, ids, query, ways)


def drawn_episodes(path: str, count: int, shots: int) -> EpisodeBatch:
    """Draw all-way episodes of the test images of a file of `ancor embed`, as evaluation does."""
    with np.load(path) as file:
        features, labels = file["test_features"][:, 0], file["test_fine"]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    sampler, protocol = EpisodeSampler(labels), Protocol(1000, shots, n_augmentations=1)
    drawn = [sampler.draw(protocol, number) for number in range(count)]
    support, query = (
        torch.from_numpy(features[np.stack([getattr(episode, name) for episode in drawn])])
        for name in ("support", "query")
    )
    labels = torch.from_numpy(np.stack([episode.support_labels for episode in drawn]))
    ids = torch.from_numpy(np.stack([episode.support for episode in drawn]))
    return EpisodeBatch(support, labels, ids, query, len(drawn[0].classes))


def compare_ridge(args: argparse.Namespace) -> None:
    """Time Ridge and LR of all-way episodes by turns, in a core's own seconds; print a table."""
    torch.set_num_threads(1)
    print("| features | classes | shots | LR, ms | Ridge, ms | ratio |\n" + "| --- " * 6 + "|")
    for shots in (1, 5):
        cases = [(f"random, {w}", random_episodes(6, n, shots, w)) for n, w in RANDOM]
        if args.features:
            cases.append((args.features, drawn_episodes(args.features, 12, shots)))
        for about, batch in cases:
            parts, spent = list(batch.split(2)), {"LR": [], "Ridge": []}
            for _ in range(ROUNDS):
                for name, seconds in spent.items():
                    classify, started = build_classifier(name), process_time()
                    for part in parts:
                        classify(part)
                    seconds.append((process_time() - started) / len(batch.labels))
            lr, ridge = (1e3 * min(seconds) for seconds in spent.values())
            cells = about, batch.n_ways, shots, f"{lr:.1f}", f"{ridge:.1f}", f"{ridge / lr:.2f}"
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main() -> None:
    """Run what the flags ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="random")
    parser.add_argument("--arch", default="resnet12")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--views", type=int, default=10)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--loop-small", type=int, default=20, help="5-way episodes of the loop")
    parser.add_argument("--loop-large", type=int, default=2, help="all-way episodes of the loop")
    parser.add_argument("--classifier-only", action="store_true")
    parser.add_argument("--ridge", action="store_true", help="time Ridge against LR")
    parser.add_argument("--features", help="file of `ancor embed`: Ridge is timed on it too")
    args = parser.parse_args()
    if args.ridge:
        compare_ridge(args)
    elif args.classifier_only:
        compare_classifiers(args)
    else:
        compare(args)


if __name__ == "__main__":
    main()

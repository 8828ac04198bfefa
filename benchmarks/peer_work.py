"""What `peers.py` times: the same work, done by parts of a peer and by ours.

Each function is called in a process of its own and returns a step (`turns.Step`); a peer is
imported there alone. Networks are the toolkit's own modules in every peer, behind the same head,
Linear(F, F), ReLU, Linear(F, D), with fresh weights.
"""

import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import count as count_from
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from loader import papers_pipeline
from PIL import Image
from retrieval import made_features
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import io
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from training import CPU, DIM, IMAGES, MOMENTUM, TEMPERATURE, method_step
from turns import Step

from ancor.data.config import DataConfig
from ancor.data.episodes import Episode, EpisodeSampler, Protocol
from ancor.data.images import ColorImages
from ancor.data.partition import Partition
from ancor.data.registry import DATASETS, PHOTOGRAPHS
from ancor.data.transform_spec import AUGMENTATIONS, TransformSpec
from ancor.data.transforms import normalize
from ancor.evaluation.feature_bank import FeatureBank
from ancor.evaluation.neighbors import QUERIES
from ancor.evaluation.plan import plan_evaluations
from ancor.evaluation.predictors import single
from ancor.evaluation.retrieval import RECALL_AT, retrieve
from ancor.evaluation.scoring import score
from ancor.models.backbones import build_backbone
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from ancor.runtime.devices import Runtime, autocast_dtype
from ancor.training.batches import TrainingBatches
from ancor.training.config import TrainConfig
from ancor.training.doctor.workload import Size, build, drawn_partition
from ancor.training.metrics import Meter
from ancor.training.trainer import Trainer

CLASSES = 20  # coarse ones of a training set
WAYS, SHOTS, ASKED = 100, 5, 15  # classes of the episodes' images; images a class of an episode
RATE, DECAY = 0.03, 1e-4
FULL = AUGMENTATIONS["full"]  # the paper's views
Learn = Callable[[Sequence[Tensor], Tensor], None]  # from two views and labels


def size_of(args: Namespace) -> Size:
    """Return how large a step of ours is."""
    return Size(args.arch, args.pixels, args.batch_size, CLASSES, args.queue_k, IMAGES)


def spec_of(args: Namespace) -> TransformSpec:
    """Return the transforms of an epoch's images: CIFAR-100's, with the paper's full views."""
    spec = DATASETS["cifar100"].transforms
    return replace(spec, size=args.pixels, native_size=args.pixels).augmented("full")


def autocast(args: Namespace) -> torch.autocast:
    """Return the context of all networks' passes."""
    dtype = autocast_dtype(args.precision, CPU)
    return torch.autocast("cpu", dtype=dtype, enabled=dtype is not None)


def layout(args: Namespace) -> torch.memory_format:
    """Return in which order a peer's weights and images lie in memory."""
    return torch.channels_last if args.alike else torch.contiguous_format


def descent(parameters: Iterator[nn.Parameter]) -> torch.optim.SGD:
    """Return SGD as peers' examples make it, with the settings of ours."""
    return torch.optim.SGD(parameters, RATE, momentum=0.9, weight_decay=DECAY)


def head(width: int) -> nn.Sequential:
    """Return the head that all have, where a peer's own cannot be given its sizes."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, DIM))


def lightly_learner(name: str, args: Namespace) -> Learn:
    """Return lightly's step, from its parts as its guide puts them together."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import MoCoProjectionHead
    from lightly.models.utils import deactivate_requires_grad, update_momentum

    backbone, queued = build_backbone(args.arch), name == "moco"
    width = backbone.out_features
    network = nn.Sequential(backbone, MoCoProjectionHead(width, width, DIM)).train()
    network.to(memory_format=layout(args))
    contrast = NTXentLoss(TEMPERATURE, (args.queue_k, DIM) if queued else 0)
    optimizer = descent(network.parameters())
    key_network = deepcopy(network) if queued else network
    if queued:
        deactivate_requires_grad(key_network)

    def learn(views: Sequence[Tensor], labels: Tensor) -> None:
        if queued:
            update_momentum(network, key_network, MOMENTUM)
        with autocast(args):
            loss = contrast(network(views[0]), key_network(views[1]))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return learn


def solo_learner(name: str, args: Namespace) -> Learn:
    """Return solo-learn's step, without Lightning's trainer and what is logged by it."""
    with warnings.catch_warnings(record=True):  # of its dependencies
        from solo.methods import MoCoV2Plus, SimCLR

    options = {
        "encoder": "resnet18",  # replaced below
        "num_classes": CLASSES,
        "backbone_args": {},
        "max_epochs": 1,
        "batch_size": args.batch_size,
        "optimizer": "sgd",
        "lars": False,
        "lr": RATE,
        "weight_decay": DECAY,
        "classifier_lr": RATE,
        "exclude_bias_n_norm": False,
        "accumulate_grad_batches": 1,
        "extra_optimizer_args": {"momentum": 0.9},
        "scheduler": "none",
        "min_lr": 0.0,
        "warmup_start_lr": 0.0,
        "warmup_epochs": 0,
        "num_large_crops": 2,
        "num_small_crops": 0,
        "proj_output_dim": DIM,
        "proj_hidden_dim": 1,  # replaced below
        "temperature": TEMPERATURE,
    }
    if name == "moco":
        own = {"base_tau_momentum": MOMENTUM, "final_tau_momentum": MOMENTUM}
        queue = {"momentum_classifier": False, "queue_size": args.queue_k}
        method = MoCoV2Plus(**options, **own, **queue)
    else:
        method = SimCLR(**options, supervised=name == "supcon")
    method.encoder = build_backbone(args.arch)
    width = method.encoder.out_features
    method.projector, method.classifier = head(width), nn.Linear(width, CLASSES)
    if name == "moco":
        method.momentum_encoder = deepcopy(method.encoder).requires_grad_(False)
        method.momentum_projector = deepcopy(method.projector).requires_grad_(False)
    method.log = method.log_dict = lambda *told, **how: None
    method.train().to(memory_format=layout(args))
    optimizer = method.configure_optimizers()

    def learn(views: Sequence[Tensor], labels: Tensor) -> None:
        with autocast(args):
            loss = method.training_step((torch.arange(len(labels)), list(views), labels), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for pair in getattr(method, "momentum_pairs", ()):
            method.momentum_updater.update(*pair)

    return learn


LEARNERS = {"lightly": lightly_learner, "solo-learn": solo_learner}


def batch_size_of(peer: str, name: str, args: Namespace) -> int:
    """Return images of a peer's batch: half of them where each view passes both encoders."""
    return args.batch_size // 2 if (peer, name) == ("solo-learn", "moco") else args.batch_size


def our_step(name: str, args: Namespace) -> Step:
    """Return the toolkit's step of a method."""
    return method_step(name, size_of(args), args.precision)


def peer_step(peer: str, name: str, args: Namespace) -> Step:
    """Return a peer's step of a method, with as many passes of images as ours."""
    learn = LEARNERS[peer](name, args)
    size = batch_size_of(peer, name, args)
    drawn = torch.randn(2, size, 3, args.pixels, args.pixels)
    views = [view.contiguous(memory_format=layout(args)) for view in drawn]
    labels = torch.randint(0, CLASSES, (size,))
    return lambda: learn(views, labels)


def our_epoch(name: str, args: Namespace) -> Step:
    """Return an epoch of ours: images drawn, cropped, recolored, learned."""
    method = build(name, size_of(args), CPU)
    partition = drawn_partition(args.epoch_images, args.pixels, CLASSES)
    labels, size = partition.coarse_labels, args.batch_size
    batches = TrainingBatches(
        partition, labels, spec_of(args), method.views, size, 0, args.workers, CPU
    )
    dtype = autocast_dtype(args.precision, CPU)
    trainer = Trainer(method, batches, TrainConfig(), None, None, None, dtype)
    method.prepare(CPU)
    numbers = count_from(0)

    def epoch() -> None:
        meter = Meter()
        for batch in batches.epoch(next(numbers)):
            trainer.step(batch, meter)

    return epoch


class Pictures(Dataset):
    """Images in memory as torchvision's CIFAR100 gives them: (transformed image, label)."""

    def __init__(
        self, pixels: np.ndarray, labels: np.ndarray, transform: Callable | None = None
    ) -> None:
        self.pixels, self.labels, self.transform = pixels.transpose(0, 2, 3, 1), labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple:
        image = Image.fromarray(self.pixels[index])
        return image if self.transform is None else self.transform(image), int(self.labels[index])


def peer_epoch(peer: str, name: str, args: Namespace) -> Step:
    """Return an epoch of a peer, by its own transforms with our settings, and its own dataset."""
    learn = LEARNERS[peer](name, args)
    drawn = drawn_partition(args.epoch_images, args.pixels, CLASSES)
    given, size = (drawn.images.pixels, drawn.coarse_labels), batch_size_of(peer, name, args)
    if peer == "lightly":
        batches = lightly_batches(Pictures(*given), size, args)
    else:
        batches = solo_batches(given, size, args)

    def epoch() -> None:
        for views, labels in batches():
            learn([view.contiguous(memory_format=layout(args)) for view in views], labels)

    return epoch


def lightly_batches(pictures: Pictures, size: int, args: Namespace) -> Callable[[], Iterator]:
    """Return what goes through an epoch of lightly's views."""
    from lightly.data import LightlyDataset
    from lightly.transforms import MoCoV2Transform

    spec = spec_of(args)
    names = ("cj_bright", "cj_contrast", "cj_sat", "cj_hue")
    transform = MoCoV2Transform(
        input_size=args.pixels,
        **dict(zip(names, FULL["color_jitter"], strict=True)),
        min_scale=spec.crop_scale[0],
        random_gray_scale=FULL["grayscale"],
        gaussian_blur=FULL["blur"],
        normalize={"mean": list(spec.mean), "std": list(spec.std)},
    )
    dataset = LightlyDataset.from_torch_dataset(pictures, transform)
    loader = DataLoader(dataset, size, shuffle=True, drop_last=True, num_workers=args.workers)
    return lambda: ((views, labels) for views, labels, _ in loader)


def solo_batches(
    given: tuple[np.ndarray, np.ndarray], size: int, args: Namespace
) -> Callable[[], Iterator]:
    """Return what goes through an epoch of solo-learn's views, which it crops by bicubic."""
    from solo.utils.pretrain_dataloader import (
        dataset_with_index,
        prepare_dataloader,
        prepare_n_crop_transform,
        prepare_transform,
    )

    spec = spec_of(args)
    names = ("brightness", "contrast", "saturation", "hue")
    view = prepare_transform(
        "custom",
        **dict(zip(names, FULL["color_jitter"], strict=True)),
        gray_scale_prob=FULL["grayscale"],
        gaussian_prob=FULL["blur"],
        min_scale=spec.crop_scale[0],
        crop_size=args.pixels,
        mean=spec.mean,
        std=spec.std,
    )
    dataset = dataset_with_index(Pictures)(*given, prepare_n_crop_transform([view], [2]))
    loader = prepare_dataloader(dataset, size, args.workers)
    return lambda: ((views, labels) for _, views, labels in loader)


def pool(args: Namespace) -> tuple[ColorImages, np.ndarray, TransformSpec]:
    """Return images, their classes, and transforms of which the episodes see no difference."""
    pixels = np.random.default_rng(0).integers(
        0, 256, (args.pool, 3, args.pixels, args.pixels), dtype=np.uint8
    )
    spec = replace(DATASETS["cifar100"].transforms, size=args.pixels, native_size=args.pixels)
    return ColorImages(pixels), np.arange(args.pool) % WAYS, replace(spec, flip=False)


def protocol(ways: int) -> Protocol:
    """Return what an episode is: support images as they are, which easyfsl takes too."""
    return Protocol(ways, SHOTS, ASKED, n_augmentations=0)


def our_accuracy(
    encoder: Encoder, ways: int, count: int, given: tuple, args: Namespace
) -> tuple[list[Episode], np.ndarray]:
    """Draw episodes and classify them by prototypes: return them and their accuracies."""
    images, labels, spec = given
    sampler = EpisodeSampler(labels)
    plan = plan_evaluations(sampler, [protocol(ways)], count, 1, 0, spec)
    runtime = Runtime.named(CPU, args.precision, workers=args.workers)
    bank = FeatureBank(encoder, images, spec, runtime)
    [scored] = score(plan, [bank], single("Proto"), quiet=True)
    return plan.episodes[0], scored.accuracies


def our_episodes(ways: int, args: Namespace) -> Step:
    """Return the evaluation of all episodes, from images, nothing kept of the one before."""
    given = pool(args)
    encoder = Encoder(EncoderConfig(args.arch)).eval()
    return lambda: our_accuracy(encoder, ways, args.episodes, given, args)


class Labeled(Dataset):
    """Images ready for the network, as easyfsl's sampler asks for them: (image, label)."""

    def __init__(self, images: ColorImages, labels: np.ndarray, spec: TransformSpec) -> None:
        self.images, self.labels, self.spec = images, labels, spec

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return normalize(self.images[index][None], self.spec)[0], int(self.labels[index])

    def get_labels(self) -> list[int]:
        """Return the labels of all images."""
        return self.labels.tolist()


def easyfsl_accuracy(
    backbone: nn.Module, dataset: Dataset, ways: int, episodes: Sequence[Episode], workers: int = 0
) -> float:
    """Return the accuracy that easyfsl's `evaluate` finds, of our episodes."""
    from easyfsl.methods import PrototypicalNetworks
    from easyfsl.samplers import TaskSampler
    from easyfsl.utils import evaluate

    class Tasks(TaskSampler):
        """Gives these episodes out in place of its own, in its order: class by class.

        easyfsl 1.5's own does not start under PyTorch whose samplers take no `data_source`.
        """

        def __init__(self) -> None:
            self.n_way, self.n_shot, self.n_query = ways, SHOTS, ASKED
            self.n_tasks = len(episodes)

        def __iter__(self) -> Iterator[list[int]]:
            for episode in episodes:
                both = (episode.support, episode.query)
                yield np.hstack([part.reshape(ways, -1) for part in both]).ravel().tolist()

    sampler = Tasks()
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=sampler.episodic_collate_fn,
    )
    model = PrototypicalNetworks(backbone, feature_normalization=2)
    return evaluate(model, loader, device="cpu", use_tqdm=False)


def easyfsl_episodes(ways: int, features: bool, args: Namespace) -> Step:
    """Return easyfsl's evaluation of some episodes, in seconds of all.

    Args:
        ways: classes of an episode.
        features: whether the images pass the network once, by `predict_embeddings`, before the
            episodes; else they do in each.
        args: sizes.
    """
    from easyfsl.datasets import FeaturesDataset
    from easyfsl.utils import predict_embeddings

    images, labels, spec = pool(args)
    backbone, dataset = build_backbone(args.arch).eval(), Labeled(images, labels, spec)
    sampled = min(args.episodes, (args.looped * 20 if features else args.looped) * 5 // ways or 1)
    sampler = EpisodeSampler(labels)
    episodes = [sampler.draw(protocol(ways), number, 0) for number in range(sampled)]

    def step() -> float:
        started, network, items = perf_counter(), backbone, dataset
        with autocast(args):
            if features:
                loader = DataLoader(dataset, 256, num_workers=args.workers)
                found = predict_embeddings(loader, backbone)
                network, items = nn.Identity(), FeaturesDataset.from_dataframe(found)
            encoded = perf_counter()
            easyfsl_accuracy(network, items, ways, episodes, args.workers)
        ended = perf_counter()
        return encoded - started + (ended - encoded) * args.episodes / sampled

    return step


def gallery(args: Namespace) -> tuple[Tensor, np.ndarray]:
    """Return features and labels of classes of 100 images."""
    return made_features(args.gallery, 512, max(1, args.gallery // 100))


def our_recall(args: Namespace) -> Step:
    """Return the search of each among all others, with all that is told of it."""
    features, labels = gallery(args)
    return lambda: retrieve(features, labels)


def calculator(by_faiss: bool, largest: int) -> Callable[[Tensor, np.ndarray], dict[str, float]]:
    """Return pytorch-metric-learning's recall at each K of ours, and its MAP@R.

    Its calculator has recall at 1 alone; at other K it is added as its guide says, from the
    neighbors that it found.

    Args:
        by_faiss: whether faiss searches, its default, or torch, in blocks as ours.
        largest: images of the largest class.
    """
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    class Recalls(AccuracyCalculator):
        """Adds `recall`: shares by K."""

        def calculate_recall(
            self, knn_labels: Tensor, query_labels: Tensor, **others: object
        ) -> dict[int, float]:
            right = knn_labels == query_labels[:, None]
            return {k: right[:, :k].any(1).double().mean().item() for k in RECALL_AT}

        def requires_knn(self) -> list[str]:
            return [*super().requires_knn(), "recall"]

    search = None if by_faiss else CustomKNN(CosineSimilarity(), batch_size=QUERIES)
    asked = ("recall", "mean_average_precision_at_r")
    k = max(largest, *RECALL_AT)
    found = Recalls(include=asked, k=k, device=CPU, knn_func=search)
    return lambda features, labels: found.get_accuracy(features, torch.from_numpy(labels))


def peer_recall(by_faiss: bool, args: Namespace) -> Step:
    """Return pytorch-metric-learning's search of the same."""
    features, labels = gallery(args)
    calculate = calculator(by_faiss, int(np.bincount(labels).max()))
    return lambda: calculate(features, labels)


def passes(batches: Callable[[], Iterator]) -> Step:
    """Return what goes through the batches of an epoch, in one thread, as one core's work."""
    torch.set_num_threads(1)

    def epoch() -> None:
        for _ in batches():
            pass

    return epoch


def our_loader(views: int, place: Path, args: Namespace) -> Step:
    """Return an epoch of our loader, from a folder of files or a packed file."""
    partition: Partition = DataConfig("folder", root=str(place)).load("train")
    batches = TrainingBatches(
        partition,
        partition.coarse_labels,
        PHOTOGRAPHS,
        ("strong",) * views,
        args.loader_batch,
        0,
        args.workers,
        CPU,
    )
    numbers = count_from(0)
    return passes(lambda: batches.epoch(next(numbers)))


def torchvision_loader(views: int, tensors: bool, folder: Path, args: Namespace) -> Step:
    """Return an epoch of torchvision's transforms and PyTorch's loader.

    Args:
        views: of an image, which is decoded once.
        tensors: whether by transforms v2 of tensors, or by the first ones of Pillow's images.
        folder: of the files.
        args: sizes.
    """
    view = tensor_pipeline() if tensors else papers_pipeline()
    reading = {"loader": decoded} if tensors else {}
    dataset = ImageFolder(
        str(folder / "train"), lambda image: [view(image) for _ in range(views)], **reading
    )
    size, workers = args.loader_batch, args.workers
    loader = DataLoader(dataset, size, shuffle=True, drop_last=True, num_workers=workers)
    return passes(lambda: iter(loader))


def decoded(path: str) -> Tensor:
    """Return a file's image as bytes (3, H, W)."""
    return io.decode_image(path, io.ImageReadMode.RGB)


def tensor_pipeline() -> v2.Compose:
    """Return the transform of a view by torchvision's v2, of bytes (3, H, W)."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(PHOTOGRAPHS.size, PHOTOGRAPHS.crop_scale, antialias=True),
            v2.RandomApply([v2.ColorJitter(*FULL["color_jitter"])], 0.8),
            v2.RandomGrayscale(FULL["grayscale"]),
            v2.RandomApply([v2.GaussianBlur(23, (0.1, 2.0))], FULL["blur"]),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(PHOTOGRAPHS.mean, PHOTOGRAPHS.std),
        ]
    )


def timm_loader(folder: Path, args: Namespace) -> Step:
    """Return an epoch of timm's loader, with its own transforms set as ours are."""
    from timm.data import create_dataset, create_loader

    loader = create_loader(
        create_dataset("", root=str(folder / "train")),
        (3, PHOTOGRAPHS.size, PHOTOGRAPHS.size),
        args.loader_batch,
        is_training=True,
        scale=PHOTOGRAPHS.crop_scale,
        color_jitter=FULL["color_jitter"],
        color_jitter_prob=0.8,
        grayscale_prob=FULL["grayscale"],
        gaussian_blur_prob=FULL["blur"],
        interpolation="bilinear",
        mean=PHOTOGRAPHS.mean,
        std=PHOTOGRAPHS.std,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        use_prefetcher=False,  # it needs an accelerator
        device=CPU,
    )
    return passes(lambda: iter(loader))

"""What `ablation.py` compares: studies as data.

A study trains each of its rows with each of its seeds and evaluates all of them on the same
episodes. The paper's comparison is evaluated on test partitions with seeds 0, 1 and 2. Studies that
chose settings are evaluated on validation partitions with other seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

ANCOR = "ANCOR"
COARSE = "coarse labels only"
MOCO = "MoCo-v2"
FROZEN_ROW = "frozen"
BOTH = "--calc-types cls cst_by_class --loss-types ce ce"
# The paper's comparison; an untrained row comes from the networks of ANCOR before training.
METHODS = {
    COARSE: "--mode coarse --head cls --no-mlp --queue none --calc-types cls --loss-types ce",
    MOCO: "--mode coarse --head none --queue single --calc-types cst_all --loss-types ce --mlp",
    "fork + norm": f"--mode coarse --head fork --metric norm --mlp {BOTH}",
    "seq + norm": f"--mode coarse --head seq --metric norm --mlp {BOTH}",
    ANCOR: f"--mode coarse --head seq --metric angular --mlp {BOTH}",
    "fine labels": "--mode fine --head cls --no-mlp --queue none --calc-types cls --loss-types ce",
}


@dataclass(frozen=True)
class Study:
    """Trainings that are compared.

    Attributes:
        about: what it is, in a line.
        flags: of train.py, common to all rows.
        rows: flags of each row's own, by its name.
        seeds: each row is trained with each.
        partition: what is evaluated.
        shots: labeled images a class.
        evaluate: further flags of eval.py.
        then: a command between training and evaluation.
        gains: whether every row is compared with what its training started from, episode by
            episode; of a head on features, these features alone.
        first: a command that makes what all cells share. In all commands `{data}` is the dataset's
            folder (`--data`) and `{shared}` that of such files (`--shared`).
        frozen: flags of eval.py of a network that is not trained: a row of that name, one cell.
        figures: flags of eval.py for what is no episode: retrieval, clusters, unknown classes.
        curve: whether every epoch is validated, and a cell keeps that.
    """

    about: str
    flags: str
    rows: Mapping[str, str]
    seeds: tuple[int, ...] = (0, 1, 2)
    partition: str = "test"
    shots: tuple[int, ...] = (1, 5)
    evaluate: str = ""
    then: str = ""
    gains: bool = False
    first: str = ""
    frozen: str = ""
    figures: str = ""
    curve: bool = False

    @property
    def cells(self) -> list[tuple[str, int]]:
        """Row and seed of each cell, seed by seed: what is interrupted has whole comparisons."""
        frozen = [(FROZEN_ROW, self.seeds[0])] if self.frozen else []
        return frozen + [(row, seed) for seed in self.seeds for row in self.rows]

    @property
    def compares_methods(self) -> bool:
        """Whether it compares ANCOR with what it is made of, as told to readers."""
        return self.partition == "test" and self.rows.keys() >= {ANCOR, COARSE, MOCO}

    @property
    def is_the_papers(self) -> bool:
        """Whether all that it compares is of the paper's table."""
        return self.compares_methods and not self.rows.keys() & {*OTHERS}


# The other methods of the field, by the names of `ancor methods`.
OTHERS = (
    *("supcon", "simclr", "maskcon", "grafit", "coins-maskcon"),
    *("coins", "snca", "scgm-g", "scgm-a"),
)
# Settings are chosen by other images and seeds than those of the comparison.
CHOICE = {"seeds": (10, 11), "partition": "validation", "shots": (1,)}
QUICK = "--n_test_runs 300"
SMALL = "--arch conv4 --batch-size 128 --lr 0.1"


def one_by_one(base: str, changes: Mapping[str, str], name: str = "as chosen") -> dict[str, str]:
    """Rows of ANCOR with base's settings, which have that name, and with changes of them."""
    ancor = f"{METHODS[ANCOR]} {base}"
    return {
        f"{ANCOR}, {name}": ancor,
        **{f"{ANCOR}, {change}": f"{ancor} {flags}" for change, flags in changes.items()},
    }


def others(settings: Mapping[str, str], change: str = "") -> dict[str, str]:
    """Rows of the methods in `settings`, with these flags, the row named by what they change."""
    return {
        f"{name}{change and ', '}{change}": f"--mode coarse --method {name} {flags}"
        for name, flags in settings.items()
    }


def varied(row: str, changes: Mapping[str, str]) -> dict[str, str]:
    """Rows of a fine-tuning with changes of its settings; without a name, as it is compared."""
    return {
        f"{row}{change and ', '}{change}": f"{TUNED[row]} {flags}".rstrip()
        for change, flags in changes.items()
    }


DIGITS = f"{SMALL} --epochs 40 --cst-t 0.5 --queue-k 256 --encoder-m 0.99"
GLYPHS = f"{SMALL} --epochs 10 --cst-t 0.2 --queue-k 1024 --encoder-m 0.99"
FASHION_ANY = (
    "--arch conv4 --batch-size 256 --lr 0.1 --epochs 2 --cos --num-cycles 1 --precision auto"
)
FASHION_QUEUE = "--queue-k 4096 --encoder-m 0.99"
FASHION = f"{FASHION_ANY} --cst-t 0.2 {FASHION_QUEUE}"
FASHION_CHOSEN = f"--dataset fashion-mnist {FASHION} --epochs 4 --crop-scale 0.8 1"
FASHION_EPOCH = f"--dataset fashion-mnist {FASHION_ANY} --epochs 1 --crop-scale 0.8 1"
FASHION_METHODS = {
    row: f"{flags} --cst-t 1 --loss-weights 1 0.3" if BOTH in flags else f"{flags} --cst-t 0.5"
    for row, flags in METHODS.items()
}
# A queue turns over in an epoch of the 1,078 images, as ANCOR's do.
ONE_QUEUE = "--queue-k 768 --encoder-m 0.99"
DIGITS_OTHERS = {
    **dict.fromkeys(OTHERS, ""),
    **dict.fromkeys(("maskcon", "grafit", "coins-maskcon", "coins"), ONE_QUEUE),
    "scgm-a": "--queue-k 256 --encoder-m 0.99",
}
OWN_RATES = {
    **{"supcon": 0.05, "simclr": 0.05, "maskcon": 0.02},
    **dict.fromkeys(("coins", "scgm-g", "scgm-a"), 0.03),
}
FASHION_OTHERS = {
    **dict.fromkeys(OTHERS, ""),
    **dict.fromkeys(("maskcon", "grafit", "coins-maskcon", "coins", "scgm-a"), FASHION_QUEUE),
}
# Chosen on validation (`fashion-mnist-methods-choice`): what differs from a rate of 0.1.
FASHION_CHOICE = {
    **dict.fromkeys(("simclr", "maskcon", "scgm-g", "scgm-a"), "--lr 0.03"),
    **dict.fromkeys(("supcon", "grafit", "coins-maskcon"), "--cst-t 0.5"),
}
COLDER = ("supcon", "maskcon", "grafit", "coins-maskcon", "snca")  # whose own temperature is lower
# Chosen on validation (`digits-methods-choice`): what differs from a rate of 0.1 and own settings.
CHOSEN = {
    **{name: f"--lr {OWN_RATES[name]}" for name in ("supcon", "simclr", "scgm-g")},
    **dict.fromkeys(("maskcon", "grafit", "coins-maskcon"), "--cst-t 0.5"),
}
# Every method of the table on one dataset, the paper's parts by their names there.
PRESETS = {
    **{COARSE: METHODS[COARSE], MOCO: METHODS[MOCO]},
    **{"fork + norm": METHODS["fork + norm"], "seq + norm": METHODS["seq + norm"]},
    ANCOR: METHODS[ANCOR],
}
FROZEN = "timm:tf_efficientnet_lite0"
HEADS = ("moco", "ancor", "ancor-norm", *OTHERS)
GROCERY_HEADS = {
    # The head `cls` of the method `ce` has no embedding, so that nothing of it would be scored.
    COARSE: "--mode coarse --method ancor --calc-types cls",
    **{name: f"--mode coarse --method {name}" for name in HEADS},
    "fine labels": "--mode fine --method ancor --calc-types cls",
}
# The file of weights is in the folder that cells share.
WEIGHTS = f"--arch {FROZEN} --pretrained {{shared}}/efficientnet-lite0-57934424.pth"
TUNING = "--mode coarse --cos --num-cycles 1 --workers 0 --precision bf16"
GROCERY = "--dataset grocery --data {data}"
GROCERY_TUNING = f"{GROCERY} {WEIGHTS} {TUNING} --batch-size 64"
CIFAR100 = "--dataset cifar100 --data {data}"
CIFAR100_SIZE = "--image-size 128"
CIFAR100_TUNING = (
    f"{CIFAR100} {WEIGHTS} {CIFAR100_SIZE} {TUNING} --batch-size 128 --epochs 2 --warmup-epochs 0.2"
)
CLASS_QUEUES = "--queue-k auto --encoder-m 0.99"
TUNED = {
    COARSE: "--method ce",
    "ancor": f"--method ancor {CLASS_QUEUES} --loss-weights 1 1",
    "coins": f"--method coins {CLASS_QUEUES}",
    **{name: f"--method {name}" for name in ("snca", "scgm-g")},
}
WEAKER = "contrast x 0.3"  # which became the default
TUNED_WEAKER = {f"ancor, {WEAKER}": TUNED["ancor"] + " --loss-weights 1 0.3"}
FINE_TUNING_CHANGES = {
    "": "",
    "statistics of batches": "--no-freeze-bn",
    "128 px": "--image-size 128",
    "10 epochs": "--epochs 10",
    "rate x 3": "--lr 0.003",
    "rate x 0.3": "--lr 0.0003",
    "128 px, rate x 3": "--image-size 128 --lr 0.003",
    "colors changed": "--augment color",
    "colors and blur": "--augment full",
}
SCRATCH = {COARSE: "ce", MOCO: "moco", ANCOR: "ancor"}
# Queues that turn over in an epoch, where the paper's 65,536 keys a class are never filled.
SHORT_QUEUES = {
    COARSE: "",
    MOCO: "--queue-k 4096 --encoder-m 0.99",
    ANCOR: CLASS_QUEUES,
}
SCRATCH_SHORT = {row: f"--method {name} {SHORT_QUEUES[row]}" for row, name in SCRATCH.items()}
RATES = {f"rate {rate}": f"--lr {rate}" for rate in (0.03, 0.1)}
SCRATCH_CHANGES = {
    **{COARSE: RATES, MOCO: RATES},
    ANCOR: {
        **RATES,
        "rate 0.1, temperature 0.5": "--lr 0.1 --cst-t 0.5",
        "rate 0.1, contrast x 0.3": "--lr 0.1 --loss-weights 1 0.3",
    },
}
SCRATCH_CHOICE = {
    f"{row}, {change}": f"{SCRATCH_SHORT[row]} {flags}"
    for row, changes in SCRATCH_CHANGES.items()
    for change, flags in changes.items()
}
CIFAR100_SCRATCH = f"{CIFAR100} --mode coarse --cos --num-cycles 1 --precision bf16"
CONV4 = f"{CIFAR100_SCRATCH} --arch conv4 --workers 0"
# Chosen on training images (`cifar100-conv4-choice`).
CONV4_CHOICE = {
    **dict.fromkeys((COARSE, MOCO), "--lr 0.1"),
    ANCOR: "--lr 0.1 --loss-weights 1 0.3",
}
CONV4_CHOSEN = {row: f"{flags} {CONV4_CHOICE[row]}" for row, flags in SCRATCH_SHORT.items()}
RESNET12 = f"{CIFAR100_SCRATCH} --arch resnet12"
# Chosen on training images (`cifar100-resnet12-choice`).
RESNET12_CHOICE = {COARSE: "--lr 0.03", MOCO: "--lr 0.1", ANCOR: "--lr 0.1 --cst-t 0.5"}
RESNET12_CHOSEN = {row: f"{flags} {RESNET12_CHOICE[row]}" for row, flags in SCRATCH_SHORT.items()}
RESNET12_CHOSEN["seq + norm"] = f"{RESNET12_CHOSEN[ANCOR]} --metric norm"
CIFAR100_OTHERS = {
    **dict.fromkeys(OTHERS, ""),
    **dict.fromkeys(("maskcon", "grafit", "coins-maskcon", "coins"), SHORT_QUEUES[MOCO]),
    "scgm-a": CLASS_QUEUES,
}
CONTRAST_CHANGES = {
    "ancor": {
        "": "",
        WEAKER: "--loss-weights 1 0.3",
        "contrast x 0.1": "--loss-weights 1 0.1",
        "temperature 0.5": "--cst-t 0.5",
        "without the angle": "--metric norm",
    },
    "snca": {
        "": "",
        "temperature 0.1": "--cst-t 0.1",
        "temperature 0.2": "--cst-t 0.2",
        "10 epochs": "--epochs 10",
    },
    COARSE: {"": "", "10 epochs": "--epochs 10"},
}
OF_ANCOR = ("", "statistics of batches", "128 px", "rate x 3", "128 px, rate x 3")
PROTOTYPES = f"--cls Proto --n-augmentations 1 {QUICK}"
PLAIN_PROTOTYPES = f"--cls Proto --n-augmentations 0 {QUICK}"
# A choice for CIFAR-100, whose validation images are its test images.
OF_TRAINING_IMAGES = {**CHOICE, "seeds": (10,), "partition": "train", "evaluate": PLAIN_PROTOTYPES}
FIGURES = "--retrieval --clusters --open-set"
STUDIES: dict[str, Study] = {
    "digits": Study("the paper's comparison on digits", f"--dataset digits {DIGITS}", METHODS),
    "fashion-mnist": Study(
        "the paper's comparison on Fashion-MNIST",
        FASHION_CHOSEN,
        {**FASHION_METHODS, f"{ANCOR}, equal weights": f"{METHODS[ANCOR]} --cst-t 0.5"},
    ),
    "fashion-mnist-resnet12": Study(
        "ResNet-12 on 19,200 images of Fashion-MNIST: 300 steps of 64",
        f"{FASHION_CHOSEN} --arch resnet12 --batch-size 64 --lr 0.03 --max-steps 300",
        {row: FASHION_METHODS[row] for row in (COARSE, MOCO, ANCOR)},
        shots=(1,),
    ),
    "glyphs": Study(
        "the paper's comparison on glyphs; by the nearest cosine, as LR among 230 classes is slow",
        f"--dataset glyphs {GLYPHS}",
        METHODS,
        evaluate="--cls Cosine",
    ),
    "glyphs-30-epochs": Study(
        "the same, three times as long; less weight of the contrastive loss",
        f"--dataset glyphs {GLYPHS} --epochs 30",
        {
            **{row: METHODS[row] for row in (COARSE, MOCO)},
            ANCOR: f"{METHODS[ANCOR]} --loss-weights 1 0.3",
            f"{ANCOR}, equal weights": METHODS[ANCOR],
        },
        evaluate="--cls Cosine",
    ),
    "digits-choice": Study(
        "what ANCOR's settings change on digits",
        "--dataset digits",
        {
            **one_by_one(
                DIGITS,
                {
                    "20 epochs": "--epochs 20",
                    "80 epochs": "--epochs 80",
                    "temperature 0.2": "--cst-t 0.2",
                    "temperature 1": "--cst-t 1",
                    "1024 keys a class": "--queue-k 1024",
                    "key momentum 0.999": "--encoder-m 0.999",
                    "crops of 0.5-1": "--crop-scale 0.5 1",
                    "crops of 0.95-1": "--crop-scale 0.95 1",
                    "contrast x 0.3": "--loss-weights 1 0.3",
                    "contrast x 3": "--loss-weights 1 3",
                },
            ),
            **{
                f"{COARSE}, {epochs} epochs": f"{METHODS[COARSE]} {DIGITS} --epochs {epochs}"
                for epochs in (20, 40, 80)
            },
            f"{MOCO}, 40 epochs": f"{METHODS[MOCO]} {DIGITS}",
        },
        **CHOICE,
        evaluate=QUICK,
    ),
    "digits-methods-choice": Study(
        "rates and temperatures of the other methods on digits",
        f"--dataset digits {SMALL} --epochs 40",
        {
            **others(DIGITS_OTHERS),
            **others({k: f"{DIGITS_OTHERS[k]} --lr {v}" for k, v in OWN_RATES.items()}, "own rate"),
            **others({k: f"{DIGITS_OTHERS[k]} --cst-t 0.5" for k in COLDER}, "temperature 0.5"),
            **others({"maskcon": f"{DIGITS_OTHERS['maskcon']} --cst-t 1"}, "temperature 1"),
        },
        **{**CHOICE, "seeds": (10,)},
        evaluate=QUICK,
    ),
    "digits-methods": Study(
        "the other methods of the field on digits, as long as the paper's comparison",
        f"--dataset digits {SMALL} --epochs 40",
        others({name: f"{DIGITS_OTHERS[name]} {CHOSEN.get(name, '')}" for name in OTHERS}),
    ),
    "fashion-mnist-methods-choice": Study(
        "rates of the other methods on Fashion-MNIST, an epoch",
        FASHION_EPOCH,
        {
            **others({k: f"{FASHION_OTHERS[k]} --lr 0.1" for k in OTHERS}, "rate 0.1"),
            **others({k: f"{FASHION_OTHERS[k]} --lr 0.03" for k in OTHERS}, "rate 0.03"),
            **others({k: f"{FASHION_OTHERS[k]} --cst-t 0.5" for k in COLDER}, "temperature 0.5"),
        },
        **{**CHOICE, "seeds": (10,)},
        evaluate=QUICK,
    ),
    "fashion-mnist-methods": Study(
        "all methods on Fashion-MNIST, an epoch",
        FASHION_EPOCH,
        {
            **{row: f"{FASHION_METHODS[row]} {FASHION_QUEUE}" for row in (*PRESETS, "fine labels")},
            **others({k: f"{FASHION_OTHERS[k]} {FASHION_CHOICE.get(k, '')}" for k in OTHERS}),
        },
    ),
    "grocery-heads": Study(
        "heads of every method on features of a frozen ImageNet network, Grocery Store",
        "--features {shared}/grocery.npz",
        GROCERY_HEADS,
        evaluate=PROTOTYPES,
        gains=True,
        first=(
            f"-m ancor embed --arch {FROZEN} --pretrained --dataset grocery --data {{data}} "
            "--augment crops --views 8 --output {shared}/grocery.npz"
        ),
    ),
    "grocery-fine-tuning-choice": Study(
        "settings of training a whole ImageNet network on, Grocery Store",
        f"{GROCERY_TUNING} --epochs 4",
        {
            **varied(COARSE, FINE_TUNING_CHANGES),
            **varied("ancor", {k: FINE_TUNING_CHANGES[k] for k in OF_ANCOR}),
        },
        **{**CHOICE, "seeds": (10,)},
        evaluate=PLAIN_PROTOTYPES,
        gains=True,
        frozen=f"{GROCERY} {WEIGHTS}",
    ),
    "grocery-fine-tuning": Study(
        "a whole ImageNet network trained on by methods, Grocery Store",
        f"{GROCERY_TUNING} --epochs 4 --lr 0.003",
        {**TUNED, **TUNED_WEAKER},
        evaluate=PLAIN_PROTOTYPES,
        gains=True,
        frozen=f"{GROCERY} {WEIGHTS}",
        figures=FIGURES,
    ),
    "grocery-contrast-choice": Study(
        "weight and temperature of the contrast in training a whole network on, Grocery Store",
        f"{GROCERY_TUNING} --epochs 4 --lr 0.003",
        {
            name: flags
            for row, changes in CONTRAST_CHANGES.items()
            for name, flags in varied(row, changes).items()
        },
        **{**CHOICE, "seeds": (10,)},
        evaluate=PLAIN_PROTOTYPES,
        gains=True,
        frozen=f"{GROCERY} {WEIGHTS}",
    ),
    "cifar100-fine-tuning": Study(
        "a whole ImageNet network trained on by methods, CIFAR-100 at 128 px",
        f"{CIFAR100_TUNING} --lr 0.003",
        {
            **{row: flags for row, flags in TUNED.items() if row != "coins"},
            **TUNED_WEAKER,
        },
        evaluate=PLAIN_PROTOTYPES,
        gains=True,
        frozen=f"{CIFAR100} {WEIGHTS} {CIFAR100_SIZE}",
        figures=FIGURES,
    ),
    "cifar100-scratch": Study(
        "ResNet-50 from random weights on CIFAR-100, an eighth of the paper's 200 epochs",
        f"{CIFAR100_SCRATCH} --arch resnet50 --epochs 25 --workers 3",
        {row: f"--method {name}" for row, name in SCRATCH.items()},
        seeds=(0,),
        figures=FIGURES,
        curve=True,
    ),
    "cifar100-scratch-choice": Study(
        "rates and contrast of a short training of ResNet-50 on CIFAR-100, by its training images",
        f"{CIFAR100_SCRATCH} --arch resnet50 --epochs 6 --workers 1",
        {
            **SCRATCH_CHOICE,
            f"{ANCOR}, rate 0.03, the paper's queues": "--method ancor --lr 0.03",
        },
        **OF_TRAINING_IMAGES,
    ),
    "cifar100-conv4-choice": Study(
        "the same of conv4, five epochs",
        f"{CONV4} --epochs 5",
        SCRATCH_CHOICE,
        **OF_TRAINING_IMAGES,
    ),
    "cifar100-resnet12-choice": Study(
        "the same of ResNet-12, the paper's network for these images, six epochs",
        f"{RESNET12} --epochs 6 --workers 1",
        SCRATCH_CHOICE,
        **OF_TRAINING_IMAGES,
    ),
    "cifar100-resnet12": Study(
        "ResNet-12 from random weights on CIFAR-100, a tenth of the paper's 200 epochs",
        f"{RESNET12} --epochs 20 --workers 2",
        RESNET12_CHOSEN,
        evaluate=QUICK,
        figures=FIGURES,
        curve=True,
    ),
    "cifar100-methods": Study(
        "all methods from random weights on CIFAR-100, conv4, five epochs",
        f"{CONV4} --epochs 5",
        {
            **CONV4_CHOSEN,
            "seq + norm": f"{CONV4_CHOSEN[ANCOR]} --metric norm",
            "fine labels": f"{METHODS['fine labels']} --lr 0.1",
            **others(
                {k: f"--lr 0.1 {CIFAR100_OTHERS[k]} {FASHION_CHOICE.get(k, '')}" for k in OTHERS}
            ),
        },
        evaluate=QUICK,
        figures=FIGURES,
    ),
    "digits-norm": Study(
        "whether the angle or its temperature makes the difference on digits",
        "--dataset digits",
        {
            f"seq + norm{name}": f"{METHODS['seq + norm']} {DIGITS} {flags}"
            for name, flags in {
                "": "",
                ", temperature 0.2": "--cst-t 0.2",
                ", temperature 1": "--cst-t 1",
            }.items()
        },
        **CHOICE,
        evaluate=QUICK,
    ),
    "digits-embedding": Study(
        "digits evaluated on the head's embedding instead of backbone features",
        f"--dataset digits {DIGITS}",
        {row: METHODS[row] for row in (ANCOR, "seq + norm", MOCO)},
        **CHOICE,
        evaluate=f"--no-only-base {QUICK}",
    ),
    "digits-batch-norm": Study(
        "digits with batch-norm statistics of whole training images, after training",
        f"--dataset digits {DIGITS}",
        {row: METHODS[row] for row in (ANCOR, COARSE, MOCO)},
        **CHOICE,
        evaluate=QUICK,
        then="benchmarks/batch_norm.py run/model_best.pth.tar run/model_best.pth.tar",
    ),
    "digits-precision": Study(
        "fp32 against bf16 autocast on digits",
        f"--dataset digits {DIGITS} {METHODS[ANCOR]}",
        {"fp32": "--precision fp32", "bf16": "--precision bf16"},
        shots=(1,),
    ),
    "fashion-mnist-precision": Study(
        "fp32 against bf16 autocast on Fashion-MNIST, 200 steps",
        f"--dataset fashion-mnist {FASHION} --crop-scale 0.8 1 --max-steps 200 {METHODS[ANCOR]}",
        {"fp32": "--precision fp32", "bf16": "--precision bf16"},
        seeds=(0,),
        shots=(1,),
    ),
    "glyphs-choice": Study(
        "what ANCOR's settings change on glyphs",
        "--dataset glyphs",
        {
            **one_by_one(
                GLYPHS,
                {
                    "temperature 0.5": "--cst-t 0.5",
                    "crops of 0.3-1": "--crop-scale 0.3 1",
                    "contrast x 0.3": "--loss-weights 1 0.3",
                },
            ),
            COARSE: f"{METHODS[COARSE]} {GLYPHS}",
        },
        **{**CHOICE, "seeds": (10,)},
        evaluate=QUICK,
    ),
    "glyphs-length": Study(
        "longer training on glyphs, and then less contrast; by the nearest cosine, as compared",
        "--dataset glyphs",
        {
            **one_by_one(
                GLYPHS,
                {
                    "30 epochs": "--epochs 30",
                    "30 epochs, cosine rate": "--epochs 30 --cos --num-cycles 1",
                    "30 epochs, contrast x 0.3": "--epochs 30 --loss-weights 1 0.3",
                    "30 epochs, temperature 0.5, contrast x 0.3": (
                        "--epochs 30 --cst-t 0.5 --loss-weights 1 0.3"
                    ),
                },
                "10 epochs",
            ),
            **{
                f"{COARSE}, {name}": f"{METHODS[COARSE]} {GLYPHS} {flags}"
                for name, flags in {
                    "10 epochs": "",
                    "30 epochs": "--epochs 30",
                    "30 epochs, cosine rate": "--epochs 30 --cos --num-cycles 1",
                }.items()
            },
        },
        **{**CHOICE, "seeds": (10,)},
        evaluate=f"--cls Cosine {QUICK}",
    ),
    "fashion-mnist-seeds": Study(
        "temperature and weight of the contrastive loss on Fashion-MNIST, other seeds",
        FASHION_CHOSEN,
        {
            **{
                f"{ANCOR}, temperature {t}{name}": f"{METHODS[ANCOR]} --cst-t {t} {flags}"
                for name, flags in {"": "", ", contrast x 0.3": "--loss-weights 1 0.3"}.items()
                for t in (0.5, 1)
            },
            COARSE: METHODS[COARSE],
        },
        **{**CHOICE, "seeds": (11, 12)},
        evaluate=QUICK,
    ),
    "fashion-mnist-choice": Study(
        "what ANCOR's settings change on Fashion-MNIST",
        "--dataset fashion-mnist",
        {
            **one_by_one(
                f"{FASHION} --crop-scale 0.2 1",
                {
                    "crops of 0.5-1": "--crop-scale 0.5 1",
                    "crops of 0.8-1": "--crop-scale 0.8 1",
                    "temperature 0.5": "--cst-t 0.5",
                    "contrast x 0.3": "--loss-weights 1 0.3",
                    "crops of 0.8-1, temperature 0.5": "--crop-scale 0.8 1 --cst-t 0.5",
                    "crops of 0.8-1, temperature 1": "--crop-scale 0.8 1 --cst-t 1",
                    "crops of 0.8-1, temperature 0.5, contrast x 0.3": (
                        "--crop-scale 0.8 1 --cst-t 0.5 --loss-weights 1 0.3"
                    ),
                    "crops of 0.8-1, temperature 0.5, 4 epochs": (
                        "--crop-scale 0.8 1 --cst-t 0.5 --epochs 4"
                    ),
                    "crops of 0.8-1, temperature 1, 4 epochs": (
                        "--crop-scale 0.8 1 --cst-t 1 --epochs 4"
                    ),
                    "crops of 0.8-1, temperature 0.5, contrast x 0.3, 4 epochs": (
                        "--crop-scale 0.8 1 --cst-t 0.5 --loss-weights 1 0.3 --epochs 4"
                    ),
                },
                "crops and temperature of the paper",
            ),
            COARSE: f"{METHODS[COARSE]} {FASHION} --crop-scale 0.2 1",
            f"{COARSE}, crops of 0.8-1": f"{METHODS[COARSE]} {FASHION} --crop-scale 0.8 1",
        },
        **{**CHOICE, "seeds": (10,)},
        evaluate=QUICK,
    ),
}

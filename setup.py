"""Installation; what is needed stands in requirements.txt alone."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
# Packages that stand in requirements.txt and are asked for by an extra only.
EXTRAS = {"breeds": ["robustness"]}


def requirements() -> tuple[list[str], dict[str, list[str]]]:
    """Split requirements.txt into what is always needed and the extras."""
    lines = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    names = {line: re.split(r"[<>=!~ ;]", line)[0] for line in lines}
    extras = {
        extra: [line for line in lines if names[line] in packages]
        for extra, packages in EXTRAS.items()
    }
    optional = {line for chosen in extras.values() for line in chosen}
    return [line for line in lines if line not in optional], extras


def version() -> str:
    """Read the version without importing the package."""
    text = (HERE / "ancor" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'__version__ = "(.+)"', text).group(1)


install_requires, extras_require = requirements()
setup(
    name="ancor-toolkit",
    version=version(),
    description="Coarse-to-fine few-shot classification: train on coarse labels, tell fine classes",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["ancor", "ancor.*"]),
    package_data={"ancor.data": ["breeds_tables/*.json"]},
    entry_points={"console_scripts": ["ancor=ancor.__main__:main"]},
    install_requires=install_requires,
    extras_require=extras_require,
)

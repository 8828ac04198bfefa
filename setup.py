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
    "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.6", "mkdocstrings[python]>=0.28"],

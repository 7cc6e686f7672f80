"""Packaging: each top-level folder is the sub-package `faceinsight.<folder>`."""

from pathlib import Path

from setuptools import setup

FOLDERS = (
    "runtime", "models", "models/data", "models/data/readers", "models/training", "calibration", "build_engines",
    "benchmarks",
)  # fmt: skip

BUILD = [
    "torch>=2.6",
    "transformers>=5",
    "safetensors",
    "onnx>=1.20",
    "onnxscript",
    "onnx-graphsurgeon>=0.6",
    "onnxslim",
    "filelock",
]
TRAIN = [*BUILD, "accelerate", "peft", "tensorboard", "h5py", "matplotlib", "sentencepiece"]
DEMO = ["scikit-image"]
RTX = ["tensorrt-rtx; sys_platform == 'linux' and platform_machine == 'x86_64'"]

setup(
    name="faceinsight",
    version="0.1.0",
    description="Face question answering where the camera is",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=["faceinsight", *(f"faceinsight.{folder.replace('/', '.')}" for folder in FOLDERS)],
    package_dir={"faceinsight": "faceinsight", **{f"faceinsight.{f.replace('/', '.')}": f for f in FOLDERS}},
    package_data={
        "faceinsight.runtime": ["nano/*", "*.cu"],
        "faceinsight.models": ["nano/*"],
        "faceinsight.models.data": ["*.toml"],
        "faceinsight.models.training": ["recipes/*.toml"],
        "faceinsight.benchmarks": ["*.json"],
    },
    install_requires=[
        "numpy",
        "onnxruntime>=1.28",
        "tokenizers>=0.21",
        "opencv-python-headless>=4.10,<5",
        "pillow>=10",
        "typer>=0.15",
        "rich>=13",
    ],
    extras_require={
        "build": BUILD,
        "train": TRAIN,
        "gpu": ["pycuda"],
        "tensorrt-rtx": [*BUILD, *RTX],
        "demo": DEMO,
        "test": [*TRAIN, *DEMO, "pytest", "hypothesis", "ruff", *RTX],
    },
    entry_points={"console_scripts": ["faceinsight = faceinsight.cli:main"]},
)

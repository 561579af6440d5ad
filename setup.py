"""Packaging. Settings of the tools stand in pyproject.toml, tested versions in constraints.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"', (HERE / "cxr_monai/__init__.py").read_text(), re.M)
assert VERSION is not None

# The bundles stand at the top level of the repository and travel inside the package as data.
BUNDLES = [path.name for path in sorted((HERE / "bundles").iterdir()) if (path / "configs").is_dir()]

DICOM = ["python-gdcm", "pylibjpeg", "pylibjpeg-openjpeg", "pyjpegls"]
# model-signing imports OpenSSL and does not require it
SHARING = ["model-signing>=1.1.1", "pyopenssl>=24"]
EXPORT = ["onnx>=1.17", "onnxruntime>=1.20"]
TEST = ["pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "ruff", "mypy", "pandas-stubs"]

setup(
    name="cxr-monai",
    version=VERSION.group(1),
    description="Chest X-ray classification on MONAI: bundles, training, explanation, tracking",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["cxr_monai", "cxr_monai.*"]), "cxr_monai.bundles"],
    package_dir={"cxr_monai.bundles": "bundles"},
    package_data={
        "cxr_monai.report": ["*.j2"],
        "cxr_monai.sharing": ["*.json"],
        "cxr_monai.bundles": [f"{name}/{part}" for name in BUNDLES for part in ("*", "configs/*", "docs/*")],
    },
    install_requires=[
        "torch>=2.6",
        "monai>=1.5",
        "pytorch-ignite>=0.5",
        "mlflow>=3.1",
        "captum>=0.7",
        "pydicom>=3.0",
        "nibabel>=5.2",
        "pandas>=2.2",
        "scikit-learn>=1.4",
        "numpy>=1.26",
        "scipy>=1.11",
        "pillow>=10",
        "matplotlib>=3.8",
        "tqdm>=4.66",
        "jinja2>=3.1",
        "markupsafe>=2.1",
        "filelock>=4.2",  # older ones leave the lock of a killed training with its workers
        "einops>=0.7",  # MONAI's ViT needs it; MONAI does not require it
        "fire>=0.6",  # python -m monai.bundle needs it; MONAI does not require it
        "jsonschema>=4.20",  # monai.bundle verify_metadata needs it; MONAI does not require it
    ],
    extras_require={
        "dicom": DICOM,  # compressed DICOM: JPEG lossless, JPEG-LS, JPEG 2000
        "openvino": ["openvino>=2025.0"],  # cxr-monai predict --runtime openvino
        "sharing": SHARING,  # cxr-monai bundle sign, verify, install
        "export": EXPORT,  # cxr-monai bundle export --format onnx
        "test": TEST,
        "dev": [*DICOM, *SHARING, *EXPORT, *TEST, "openvino>=2025.0"],
    },
    entry_points={"console_scripts": ["cxr-monai = cxr_monai.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
    ],
)

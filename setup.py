"""Packaging. Settings of the tools stand in pyproject.toml, tested versions in constraints.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"', (HERE / "cxr_monai/__init__.py").read_text(), re.M)
assert VERSION is not None

# The bundles stand at the top level of the repository and travel inside the package as data; apps/ becomes a package.
BUNDLES = [path.name for path in sorted((HERE / "bundles").iterdir()) if (path / "configs").is_dir()]

# Each floor is the lowest version without a hole that is known of (the advisory beside it), or else the lowest that
# works: 'make lowest' installs exactly these, trains and predicts with them; lowest.txt is what it did so with last.
DICOM = [
    "python-gdcm>=3.2.6",  # CVE-2025-11266, CVE-2025-52582: reads and writes outside its memory
    "pylibjpeg>=2.0",
    "pylibjpeg-openjpeg>=2.6",  # CVE-2025-54874, of the OpenJPEG within
    "pyjpegls>=1.4",
]
SHARING = [
    "model-signing>=1.1.1",
    "sigstore>=4.4",  # CVE-2026-24408; model-signing would take older ones
    "cryptography>=50",  # CVE-2026-69247, CVE-2026-26007
    "pyopenssl>=26.4",  # CVE-2026-27448, CVE-2026-27459; model-signing imports it and does not require it
]
EXPORT = [
    "onnx>=1.23",  # CVE-2026-27489, CVE-2026-34445 to 34447, CVE-2026-44512: files outside, crashes
    "onnxruntime>=1.26",  # what could be set of a session was not limited before
]
OPENVINO = ["openvino>=2025.0"]
DICOM_RESULTS = ["highdicom>=0.28", "pyjpegls>=1.4"]
NODE = [*DICOM_RESULTS, "pynetdicom>=3.0.4", "dicomweb-client>=0.61"]
DOCS = [  # 'make site'; why these: docs/decisions/0020-documentation-site.md
    "mkdocs-material>=9.8",
    "mkdocstrings>=1.0.8",
    "mkdocstrings-python>=2.0.11",
]
TEST = ["pytest", "pytest-timeout", "pytest-xdist", "pytest-cov", "hypothesis", "ruff", "mypy", "pandas-stubs"]

setup(
    name="cxr-monai",
    version=VERSION.group(1),
    description="Chest X-ray classification on MONAI: bundles, training, explanation, tracking",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["cxr_monai", "cxr_monai.*"]),
        "cxr_monai.bundles",
        *(name.replace("apps", "cxr_monai_apps", 1) for name in find_packages(include=["apps", "apps.*"])),
    ],
    package_dir={"cxr_monai.bundles": "bundles", "cxr_monai_apps": "apps"},
    package_data={
        "cxr_monai": ["py.typed", "*.pyi"],
        "cxr_monai_apps": ["py.typed"],
        "cxr_monai.report": ["templates/*.j2"],
        "cxr_monai.sharing.inspection": ["*.json"],
        "cxr_monai.bundles": [f"{name}/{part}" for name in BUNDLES for part in ("*", "configs/*", "docs/*")],
    },
    install_requires=[
        # CVE-2026-24747 (mended in 2.10: weights_only loaded what corrupts memory), CVE-2026-4538 (2.11),
        # GHSA-rrmf-rvhw-rf47 (2.13)
        "torch>=2.13",
        # GHSA-wvpx-5qmp-46g3 (mended in 1.6.1: logging.conf ran code), GHSA-89gg-p5r5-q6r4 (1.6: pickles),
        # CVE-2026-21851 (1.5.2) and CVE-2025-58755 to 58757 (1.5.1: archives, pickles)
        "monai>=1.6.1",
        "pytorch-ignite>=0.5.0.post2",
        "mlflow>=3.16",  # CVE-2026-71211, CVE-2026-4137, CVE-2026-2652; older ones keep cryptography below 50
        "captum>=0.7",
        "pydicom>=3.0.2",  # CVE-2026-32711: a DICOMDIR named files outside
        "nibabel>=5.2",
        "pandas>=2.2.2",  # the first for numpy 2
        "scikit-learn>=1.5",  # CVE-2024-5206
        "numpy>=2.0",  # what pylibjpeg-openjpeg needs
        "scipy>=1.13",  # the first for numpy 2
        "pillow>=13",  # PYSEC-2026-2251 to 2257, PYSEC-2026-3451 to 3453 (12.3), and what 13.0 mends of 12.3
        "matplotlib>=3.8.4",  # the first for numpy 2
        "tqdm>=4.66.3",  # CVE-2024-34062
        "jinja2>=3.1.6",  # CVE-2025-27516
        "markupsafe>=2.1.1",  # with an older one MLflow gets a Flask of 2022
        "filelock>=4.2",  # older ones leave the lock of a killed training with its workers
        "einops>=0.7",  # MONAI's ViT needs it; MONAI does not require it
        "fire>=0.7",  # python -m monai.bundle needs it, MONAI does not require it; older ones need a Python before 3.13
        "jsonschema>=4.20",  # monai.bundle verify_metadata needs it; MONAI does not require it
    ],
    extras_require={
        "dicom": DICOM,  # compressed DICOM: JPEG lossless, JPEG-LS, JPEG 2000
        "dicom-results": DICOM_RESULTS,  # cxr-monai predict --dicom-out: answers as DICOM objects
        "node": NODE,  # cxr-monai-node
        "openvino": OPENVINO,  # cxr-monai predict --runtime openvino
        "sharing": SHARING,  # cxr-monai bundle sign, verify, install
        "export": EXPORT,  # cxr-monai bundle export --format onnx
        "docs": DOCS,
        "test": TEST,
        "dev": [*DICOM, *NODE, *SHARING, *EXPORT, *DOCS, *TEST, *OPENVINO],
    },
    entry_points={"console_scripts": ["cxr-monai = cxr_monai.cli:main", "cxr-monai-node = cxr_monai_apps.node:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
    ],
)

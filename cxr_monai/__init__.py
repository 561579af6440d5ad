"""Chest X-ray classification on MONAI: from radiographs to a trained, tracked, explainable bundle.

    import cxr_monai as cxr

    cxr.make_phantoms("phantoms", 400, 128)
    manifest = cxr.split_manifest(cxr.make_manifest("nih", "phantoms"))
    training = cxr.train_bundle(manifest, "OUT", epochs=2, image_size=64)
    cxr.predict_images(training.bundle, manifest, split="test").table

Layers, lowest first; each imports only lower ones (``tests/test_layers.py`` checks it)::

    0  errors, labels, schemes, progress   vocabulary; bars and lines that show how far work is; how a process that is
       stopping, ...                       told to end does so
       origins, plurals                    whose images and labels these are; counts with their nouns
    1  data, networks, losses              one table of images, one file to one array; weights and losses
    2  transforms, bundle, evaluation      one transform a module; a bundle's folder; probabilities alone
    3  gate                                is this a film for this network
    4  inference                           one opened bundle: files in, probabilities out
    5  attribution, training, sharing      where a network looked; what Ignite needs beyond MONAI; bundles that travel
    6  report, objects                     what a physician or a reviewer reads; answers as DICOM objects
    7  workflows, mlflow_model             files in, files out: one module a verb of the commands; a bundle in MLflow
    9  studies, finetune                   repeated training under one question; a child bundle for one disease
    10 doctor
    11 cli                                 thin: parse, call, print

The names above the layers are the interface for Python (docs/python.md). They are imported when they are used:
``import cxr_monai`` imports nothing of it, so that ``cxr-monai --help`` answers at once.
"""

from importlib import import_module

__version__ = "0.1.0"

# The interface for Python: each name, and the module that defines it. Types are in __init__.pyi.
_MODULES = {
    "Bundle": "bundle.bundle_folder",
    "CxrError": "errors",
    "Model": "inference.model",
    "calibrate_bundle": "workflows.calibrate",
    "compare_predictions": "workflows.evaluate_tables",
    "evaluate_predictions": "workflows.evaluate_tables",
    "explain_images": "workflows.explain",
    "fine_tune": "finetune.one_disease",
    "make_manifest": "workflows.collect",
    "make_phantoms": "data.phantom",
    "open_model": "workflows.predict",
    "predict_images": "workflows.predict",
    "read_manifest": "data.manifest",
    "read_radiograph": "data.radiograph",
    "split_manifest": "data.splits",
    "train_bundle": "workflows.train",
    "write_manifest": "data.manifest",
}
__all__ = [
    "__version__",
    "Bundle",
    "CxrError",
    "Model",
    "calibrate_bundle",
    "compare_predictions",
    "evaluate_predictions",
    "explain_images",
    "fine_tune",
    "make_manifest",
    "make_phantoms",
    "open_model",
    "predict_images",
    "read_manifest",
    "read_radiograph",
    "split_manifest",
    "train_bundle",
    "write_manifest",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})

"""The names that a bundle's configuration may call: ``"_target_": "cxr_monai.components.LoadRadiographd"``.

These are the only paths of ours that configurations, recipes and the list of what a bundle may execute
(``cxr_monai.sharing``) use, so that modules can move while signed bundles stay as they are. A name stands here for
good: it keeps its meaning and its arguments, and only new arguments with defaults are added.

Nothing is imported before it is asked for (PEP 562), so a transform brings neither MLflow nor matplotlib along.
``components.pyi`` says the same to editors and type checkers.

>>> from cxr_monai import components
>>> components.LoadRadiographd
<class 'cxr_monai.transforms.load_radiograph.LoadRadiographd'>
"""

from importlib import import_module
from typing import Any

_NAMES_BY_MODULE = {
    "schemes": (
        "channel_labels",
        "label_scheme",
    ),
    "labels": ("parse_labels",),
    "data.dataset": (
        "RadiographDataset",
        "inference_items",
        "label_counts",
        "label_prevalences",
        "manifest_items",
        "open_manifest",
    ),
    "data.loading": (
        "EpochSampler",
        "data_loader",
    ),
    "data.sampling": ("sampling_weights",),
    "transforms.calibrate_probabilities": ("CalibrateProbabilitiesd",),
    "transforms.load_radiograph": ("LoadRadiographd",),
    "transforms.normalisation": ("NormaliseRadiographd",),
    "transforms.quantise": ("QuantiseRadiographd",),
    "transforms.exposure": ("RandExposured",),
    "transforms.resize_shortest": ("ResizeShortestd",),
    "transforms.ten_crops": ("TenCropd",),
    "transforms.mirror": ("WithMirrord",),
    "transforms.augmentations": ("augmentation",),
    "transforms.random_crops": ("random_affine_crop",),
    "networks.architectures": ("input_channels",),
    "networks.heads": ("classification_head",),
    "networks.weight_loading": (
        "initialise_network",
        "load_weights",
    ),
    "networks.ensemble": ("Ensemble",),
    "networks.inferers": ("AutocastInferer",),
    "losses.by_name": ("training_loss",),
    "losses.masked": ("MaskedBCEWithLogitsLoss",),
    "bundle.preparation": ("prepare_run",),
    "bundle.running": ("CheckedWorkflow",),
    "bundle.about": ("describe_predictions",),
    "bundle.trained": ("TrainedBundle",),
    "gate.configured_gate": ("bundle_gate",),
    "evaluation.carried": ("bundle_calibration",),
    "evaluation.fitted": ("read_calibration",),
    "training.optimisers": ("training_optimizer",),
    "training.schedules": (
        "ScheduleStepper",
        "learning_rate_schedule",
    ),
    "training.step": ("TrainingStep",),
    "training.averaging": ("WeightAveraging",),
    "training.freezing": ("GradualUnfreezing",),
    "training.distributed": (
        "distribute_network",
        "is_main_process",
        "local_device",
        "rank_and_world_size",
    ),
    "training.preflight": ("PreflightCheck",),
    "training.input_sheet": ("NetworkInputSheet",),
    "training.gate_fitter": ("GateFitter",),
    "training.handlers": (
        "EarlyStopper",
        "EpochLogger",
        "PredictionsWriter",
        "ProgressBar",
        "UnreadableFiles",
        "existing_handler",
    ),
    "training.ignite_metrics": (
        "FindingMetrics",
        "MeanLoss",
    ),
    "training.checkpoints": (
        "BestBundleWeights",
        "Checkpoints",
    ),
    "training.tracking": (
        "EpochTracker",
        "MLflowTracker",
    ),
    "training.runs": (
        "EvaluationRun",
        "TrainingRun",
    ),
    "attribution.selection": ("images_to_explain",),
    "workflows.evaluate": ("EvaluationReport",),
    "workflows.explain": ("ExplanationRun",),
    "finetune.parent": ("prepare_fine_tuning",),
    "finetune.disease": ("disease_manifest",),
    "finetune.stages": ("fine_tuning_stages",),
    "finetune.child": ("ChildBundle",),
}
_MODULES = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a component when it is first asked for.

    Raises:
        AttributeError: for a name that begins with ``_``, which Python asks for by itself.
        BundleError: ``bundle-incompatible`` for any other that is none: MONAI would not say which bundle lacks what.
    """
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in _MODULES:
        from cxr_monai.bundle.running import unknown_component

        raise unknown_component(f"{__name__}.{name}")
    component = getattr(import_module(f"cxr_monai.{_MODULES[name]}"), name)
    globals()[name] = component
    return component


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

from cxr_monai.attribution.selection import images_to_explain as images_to_explain
from cxr_monai.bundle.about import describe_predictions as describe_predictions
from cxr_monai.bundle.preparation import prepare_run as prepare_run
from cxr_monai.bundle.running import CheckedWorkflow as CheckedWorkflow
from cxr_monai.bundle.trained import TrainedBundle as TrainedBundle
from cxr_monai.data.dataset import RadiographDataset as RadiographDataset
from cxr_monai.data.dataset import inference_items as inference_items
from cxr_monai.data.dataset import label_counts as label_counts
from cxr_monai.data.dataset import label_prevalences as label_prevalences
from cxr_monai.data.dataset import manifest_items as manifest_items
from cxr_monai.data.dataset import open_manifest as open_manifest
from cxr_monai.data.loading import EpochSampler as EpochSampler
from cxr_monai.data.loading import data_loader as data_loader
from cxr_monai.data.sampling import sampling_weights as sampling_weights
from cxr_monai.evaluation.carried import bundle_calibration as bundle_calibration
from cxr_monai.evaluation.fitted import read_calibration as read_calibration
from cxr_monai.finetune.child import ChildBundle as ChildBundle
from cxr_monai.finetune.disease import disease_manifest as disease_manifest
from cxr_monai.finetune.parent import prepare_fine_tuning as prepare_fine_tuning
from cxr_monai.finetune.stages import fine_tuning_stages as fine_tuning_stages
from cxr_monai.gate.configured_gate import bundle_gate as bundle_gate
from cxr_monai.labels import parse_labels as parse_labels
from cxr_monai.losses.by_name import training_loss as training_loss
from cxr_monai.losses.masked import MaskedBCEWithLogitsLoss as MaskedBCEWithLogitsLoss
from cxr_monai.networks.architectures import input_channels as input_channels
from cxr_monai.networks.ensemble import Ensemble as Ensemble
from cxr_monai.networks.heads import classification_head as classification_head
from cxr_monai.networks.inferers import AutocastInferer as AutocastInferer
from cxr_monai.networks.weight_loading import initialise_network as initialise_network
from cxr_monai.networks.weight_loading import load_weights as load_weights
from cxr_monai.schemes import channel_labels as channel_labels
from cxr_monai.schemes import label_scheme as label_scheme
from cxr_monai.training.averaging import WeightAveraging as WeightAveraging
from cxr_monai.training.checkpoints import BestBundleWeights as BestBundleWeights
from cxr_monai.training.checkpoints import Checkpoints as Checkpoints
from cxr_monai.training.distributed import distribute_network as distribute_network
from cxr_monai.training.distributed import is_main_process as is_main_process
from cxr_monai.training.distributed import local_device as local_device
from cxr_monai.training.distributed import rank_and_world_size as rank_and_world_size
from cxr_monai.training.freezing import GradualUnfreezing as GradualUnfreezing
from cxr_monai.training.gate_fitter import GateFitter as GateFitter
from cxr_monai.training.handlers import EarlyStopper as EarlyStopper
from cxr_monai.training.handlers import EpochLogger as EpochLogger
from cxr_monai.training.handlers import PredictionsWriter as PredictionsWriter
from cxr_monai.training.handlers import ProgressBar as ProgressBar
from cxr_monai.training.handlers import UnreadableFiles as UnreadableFiles
from cxr_monai.training.handlers import existing_handler as existing_handler
from cxr_monai.training.ignite_metrics import FindingMetrics as FindingMetrics
from cxr_monai.training.ignite_metrics import MeanLoss as MeanLoss
from cxr_monai.training.input_sheet import NetworkInputSheet as NetworkInputSheet
from cxr_monai.training.optimisers import training_optimizer as training_optimizer
from cxr_monai.training.preflight import PreflightCheck as PreflightCheck
from cxr_monai.training.runs import EvaluationRun as EvaluationRun
from cxr_monai.training.runs import TrainingRun as TrainingRun
from cxr_monai.training.schedules import ScheduleStepper as ScheduleStepper
from cxr_monai.training.schedules import learning_rate_schedule as learning_rate_schedule
from cxr_monai.training.step import TrainingStep as TrainingStep
from cxr_monai.training.tracking import EpochTracker as EpochTracker
from cxr_monai.training.tracking import MLflowTracker as MLflowTracker
from cxr_monai.transforms.augmentations import augmentation as augmentation
from cxr_monai.transforms.calibrate_probabilities import CalibrateProbabilitiesd as CalibrateProbabilitiesd
from cxr_monai.transforms.exposure import RandExposured as RandExposured
from cxr_monai.transforms.load_radiograph import LoadRadiographd as LoadRadiographd
from cxr_monai.transforms.mirror import WithMirrord as WithMirrord
from cxr_monai.transforms.normalisation import NormaliseRadiographd as NormaliseRadiographd
from cxr_monai.transforms.quantise import QuantiseRadiographd as QuantiseRadiographd
from cxr_monai.transforms.random_crops import random_affine_crop as random_affine_crop
from cxr_monai.transforms.resize_shortest import ResizeShortestd as ResizeShortestd
from cxr_monai.transforms.ten_crops import TenCropd as TenCropd
from cxr_monai.workflows.evaluate import EvaluationReport as EvaluationReport
from cxr_monai.workflows.explain import ExplanationRun as ExplanationRun

__all__ = [
    "AutocastInferer",
    "BestBundleWeights",
    "CalibrateProbabilitiesd",
    "CheckedWorkflow",
    "Checkpoints",
    "ChildBundle",
    "EarlyStopper",
    "Ensemble",
    "EpochLogger",
    "EpochSampler",
    "EpochTracker",
    "EvaluationReport",
    "EvaluationRun",
    "ExplanationRun",
    "FindingMetrics",
    "GateFitter",
    "GradualUnfreezing",
    "LoadRadiographd",
    "MLflowTracker",
    "MaskedBCEWithLogitsLoss",
    "MeanLoss",
    "NetworkInputSheet",
    "NormaliseRadiographd",
    "PredictionsWriter",
    "PreflightCheck",
    "ProgressBar",
    "QuantiseRadiographd",
    "RadiographDataset",
    "RandExposured",
    "ResizeShortestd",
    "ScheduleStepper",
    "TenCropd",
    "TrainedBundle",
    "TrainingRun",
    "TrainingStep",
    "UnreadableFiles",
    "WeightAveraging",
    "WithMirrord",
    "augmentation",
    "bundle_calibration",
    "bundle_gate",
    "channel_labels",
    "classification_head",
    "data_loader",
    "describe_predictions",
    "disease_manifest",
    "distribute_network",
    "existing_handler",
    "fine_tuning_stages",
    "images_to_explain",
    "inference_items",
    "initialise_network",
    "input_channels",
    "is_main_process",
    "label_counts",
    "label_prevalences",
    "label_scheme",
    "learning_rate_schedule",
    "load_weights",
    "local_device",
    "manifest_items",
    "open_manifest",
    "parse_labels",
    "prepare_fine_tuning",
    "prepare_run",
    "random_affine_crop",
    "rank_and_world_size",
    "read_calibration",
    "sampling_weights",
    "training_loss",
    "training_optimizer",
]

# The types of the interface for Python: the names of __init__.py, which a test compares.

from cxr_monai.bundle.bundle_folder import Bundle as Bundle
from cxr_monai.data.manifest import read_manifest as read_manifest
from cxr_monai.data.manifest import write_manifest as write_manifest
from cxr_monai.data.phantom import make_phantoms as make_phantoms
from cxr_monai.data.radiograph import read_radiograph as read_radiograph
from cxr_monai.data.splits import split_manifest as split_manifest
from cxr_monai.errors import CxrError as CxrError
from cxr_monai.finetune.one_disease import fine_tune as fine_tune
from cxr_monai.inference.model import Model as Model
from cxr_monai.workflows.calibrate import calibrate_bundle as calibrate_bundle
from cxr_monai.workflows.collect import make_manifest as make_manifest
from cxr_monai.workflows.evaluate_tables import (
    compare_predictions as compare_predictions,
)
from cxr_monai.workflows.evaluate_tables import (
    evaluate_predictions as evaluate_predictions,
)
from cxr_monai.workflows.explain import explain_images as explain_images
from cxr_monai.workflows.predict import open_model as open_model
from cxr_monai.workflows.predict import predict_images as predict_images
from cxr_monai.workflows.train import train_bundle as train_bundle

__version__: str

"""The questions that come with this package: each the content of an experiment's file (see ``plan``)."""

from typing import Any

QUESTIONS: dict[str, dict[str, Any]] = {
    "normalisation": {
        "question": "What should grey levels look like to the network?",
        "variants": {
            "imagenet": {"normalisation": "imagenet"},
            "zero_one": {"normalisation": "zero_one"},
            "minus_one_one": {"normalisation": "minus_one_one"},
        },
    },
    "heads": {
        "question": "Independent findings, one of several classes, or categories first?",
        "variants": {
            "sigmoid": {"head": "sigmoid", "label_scheme": "findings"},
            "softmax": {"head": "softmax", "label_scheme": "findings_normal", "loss": "soft_target"},
            "hierarchical": {"head": "hierarchical", "label_scheme": "hierarchy"},
        },
    },
    "losses": {
        "question": "Which loss, or which sampling, copes best with rare findings and noisy labels?",
        # the plateau schedule and the stop watch plain cross-entropy, which some of these losses raise on purpose
        "base": {"schedule": "cosine", "patience": 1000},
        "variants": {
            "bce": {"loss": "bce"},
            "weighted_bce": {"loss": "weighted_bce"},
            "focal": {"loss": "focal"},
            "asymmetric": {"loss": "asymmetric"},
            "class_balanced": {"loss": "class_balanced"},
            "auc_margin": {"loss": "auc_margin"},
            "balanced_sampling": {"sampling": "balanced"},
            "label_smoothing": {"label_smoothing": 0.1},
        },
    },
    "networks": {
        "question": "Which network?",
        "variants": {
            name: {"network_def": name}
            for name in (
                "DenseNet121", "DenseNet169", "DenseNet201", "ResNet50", "SEResNet50", "EfficientNet-B0",
                "EfficientNet-B1", "EfficientNet-B2", "EfficientNet-B3", "EfficientNet-B4", "ViT",
            )
        },
    },
    "resolution": {
        "question": "How many pixels are worth their time?",
        "baseline": "224",
        "variants": {str(size): {"image_size": size} for size in (64, 128, 224, 320, 448, 512)},
    },
    "augmentation": {
        "question": "How much should an image be changed each time it is seen?",
        "variants": {
            "default": {"augmentation": "default"},
            "none": {"augmentation": "none"},
            "flip": {"augmentation": "default", "horizontal_flip": 0.5},
            "random_resized_crop": {"augmentation": "random_resized_crop", "horizontal_flip": 0.5},
        },
    },
    "sources": {
        "question": "What is a network worth on a hospital that it has not seen?",
        "leave_out": "source",
        "variants": {"default": {}},
    },
    "folds": {
        "question": "What is the default training worth on every image, each predicted by a network that never saw it?",
        "folds": "auto",
        "variants": {"default": {}},
    },
}  # fmt: skip

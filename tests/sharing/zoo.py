"""Configurations in the manner of MONAI's model zoo, written for these tests: what an inspection must not refuse."""

from typing import Any

_NETWORK = {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [16, 32, 64],
            "strides": [2, 2], "num_res_units": 2, "norm": "batch"}  # fmt: skip

SEGMENTATION_INFERENCE: dict[str, Any] = {
    "imports": ["$import glob", "$import os"],
    "bundle_root": ".",
    "output_dir": "$@bundle_root + '/eval'",
    "dataset_dir": "/workspace/data/organ",
    "datalist": "$sorted(glob.glob(os.path.join(@dataset_dir, 'imagesTs', '*.nii.gz')))",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": _NETWORK,
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image", "reader": "NibabelReader"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"},
            {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -57, "a_max": 164, "b_min": 0, "b_max": 1,
             "clip": True},
            {"_target_": "EnsureTyped", "keys": "image"},
        ],
    },
    "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
    "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 4},
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [96, 96, 96], "sw_batch_size": 4, "overlap": 0.5},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
             "nearest_interp": False, "to_tensor": True},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
        ],
    },
    "handlers": [
        {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'",
         "load_dict": {"model": "@network"}},
        {"_target_": "StatsHandler", "iteration_log": False},
    ],
    "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@dataloader",
                  "network": "@network", "inferer": "@inferer", "postprocessing": "@postprocessing",
                  "val_handlers": "@handlers", "amp": True},
    "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', True)"],
    "run": ["$@evaluator.run()"],
}  # fmt: skip

SEGMENTATION_TRAINING: dict[str, Any] = {
    "imports": ["$import glob", "$import os", "$import ignite"],
    "bundle_root": "/workspace/organ",
    "ckpt_dir": "$@bundle_root + '/models'",
    "val_interval": 5,
    "images": "$list(sorted(glob.glob(@dataset_dir + '/imagesTr/*.nii.gz')))",
    "labels": "$list(sorted(glob.glob(@dataset_dir + '/labelsTr/*.nii.gz')))",
    "dataset_dir": "/workspace/data/organ",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": _NETWORK,
    "network": "$@network_def.to(@device)",
    "loss": {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True, "squared_pred": True, "batch": True},
    "optimizer": {"_target_": "Novograd", "params": "$@network.parameters()", "lr": 0.002},
    "train": {
        "deterministic_transforms": [
            {"_target_": "LoadImaged", "keys": ["image", "label"]},
            {"_target_": "EnsureChannelFirstd", "keys": ["image", "label"]},
        ],
        "random_transforms": [
            {"_target_": "RandCropByPosNegLabeld", "keys": ["image", "label"], "label_key": "label",
             "spatial_size": [96, 96, 96], "pos": 1, "neg": 1, "num_samples": 4},
            {"_target_": "RandFlipd", "keys": ["image", "label"], "prob": 0.2, "spatial_axis": 0},
        ],
        "preprocessing": {"_target_": "Compose",
                          "transforms": "$@train#deterministic_transforms + @train#random_transforms"},
        "dataset": {"_target_": "CacheDataset",
                    "data": "$[{'image': i, 'label': l} for i, l in zip(@images[:-9], @labels[:-9])]",
                    "transform": "@train#preprocessing", "cache_rate": 1.0, "num_workers": 4},
        "dataloader": {"_target_": "DataLoader", "dataset": "@train#dataset", "batch_size": 2, "shuffle": True},
        "handlers": [
            {"_target_": "ValidationHandler", "validator": "@validate#evaluator", "epoch_level": True,
             "interval": "@val_interval"},
            {"_target_": "StatsHandler", "tag_name": "train_loss",
             "output_transform": "$monai.handlers.from_engine(['loss'], first=True)"},
            {"_target_": "TensorBoardStatsHandler", "log_dir": "@bundle_root", "tag_name": "train_loss",
             "output_transform": "$monai.handlers.from_engine(['loss'], first=True)"},
        ],
        "key_metric": {"train_accuracy": {"_target_": "ignite.metrics.Accuracy",
                       "output_transform": "$monai.handlers.from_engine(['pred', 'label'])"}},
        "trainer": {"_target_": "SupervisedTrainer", "max_epochs": 100, "device": "@device",
                    "train_data_loader": "@train#dataloader", "network": "@network", "loss_function": "@loss",
                    "optimizer": "@optimizer", "train_handlers": "@train#handlers", "amp": True},
    },
    "validate": {
        "handlers": [{"_target_": "CheckpointSaver", "save_dir": "@ckpt_dir", "save_dict": {"model": "@network"},
                      "save_key_metric": True, "key_metric_filename": "model.pt"}],
        "key_metric": {"val_mean_dice": {"_target_": "MeanDice", "include_background": False,
                       "output_transform": "$monai.handlers.from_engine(['pred', 'label'])"}},
        "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "network": "@network",
                      "val_data_loader": "@train#dataloader", "val_handlers": "@validate#handlers"},
    },
    "initialize": ["$monai.utils.set_determinism(seed=123)", "$setattr(torch.backends.cudnn, 'benchmark', True)"],
    "run": ["$@train#trainer.run()"],
}  # fmt: skip

MULTI_GPU: dict[str, Any] = {
    "device": "$torch.device('cuda:' + str(dist.get_rank()))",
    "imports": ["$import torch.distributed as dist", "$import os"],
    "network": {"_target_": "torch.nn.parallel.DistributedDataParallel", "module": "$@network_def.to(@device)",
                "device_ids": ["@device"]},
    "network_def": _NETWORK,
    "train#sampler": {"_target_": "DistributedSampler", "dataset": "@train#dataset", "even_divisible": True},
    "train": {"dataset": {"_target_": "Dataset", "data": [], "transform": None},
              "handlers": "$@train#dataset if dist.get_rank() > 0 else @train#dataset"},
    "initialize": ["$dist.is_initialized() or dist.init_process_group(backend='nccl')",
                   "$monai.utils.set_determinism(seed=123)"],
    "finalize": ["$dist.is_initialized() and dist.destroy_process_group()"],
}  # fmt: skip

CLASSIFICATION: dict[str, Any] = {
    "imports": ["$import json", "$import pathlib", "$import numpy as np"],
    "labels": ["benign", "malignant"],
    "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
    "datalist": "$monai.data.load_decathlon_datalist(@data_file, data_list_key='test')",
    "data_file": "$str(pathlib.Path(@bundle_root) / 'label' / 'test.json')",
    "bundle_root": ".",
    "network_def": {"_target_": "TorchVisionFCModel", "model_name": "inception_v3", "num_classes": 2,
                    "pool": None, "use_conv": False, "pretrained": False},
    "key_metric": {"val_accuracy": {"_target_": "ignite.metrics.Accuracy",
                   "output_transform": "$monai.handlers.from_engine(['pred', 'label'])"}},
    "auc": {"_target_": "ROCAUC", "average": "macro",
            "output_transform": "$monai.handlers.from_engine(['pred', 'label'])"},
    "mean": "$np.mean([1.0, 2.0])",
    "to_class": {"_target_": "Lambdad", "keys": "label", "func": "$lambda x: int(x > 0)"},
    "postprocessing": {"_target_": "Compose", "transforms": [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": 2},
        {"_target_": "SaveClassificationd", "keys": "pred", "output_dir": "@bundle_root"}]},
    "run": ["$print(len(@labels))"],
}  # fmt: skip

DETECTION: dict[str, Any] = {
    "imports": ["$import torch", "$from monai.data import decollate_batch", "$import math"],
    "spatial_dims": 3,
    "fg_labels": [0],
    "patch": [192, 192, 80],
    "conv1_t_size": "$[max(7, 2 * s + 1) for s in @strides]",
    "strides": [2, 2, 1],
    "epochs": 300,
    "steps": "$math.ceil(@epochs / 3)",
    "network": {"_target_": "resnet50", "spatial_dims": "@spatial_dims", "n_input_channels": 1,
                "conv1_t_size": "@conv1_t_size", "conv1_t_stride": "@strides", "num_classes": "$len(@fg_labels)"},
    "optimizer": {"_target_": "torch.optim.SGD", "params": "$@network.parameters()", "lr": 0.01, "momentum": 0.9,
                  "weight_decay": 3e-05, "nesterov": True},
    "after_scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "optimizer": "@optimizer", "step_size": 160,
                        "gamma": 0.1},
    "handler": {"_target_": "LrScheduleHandler", "lr_scheduler": "@after_scheduler", "print_lr": True},
    "decollate": "$decollate_batch",
    "window": {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -1024.0, "a_max": 300.0, "b_min": 0.0,
               "b_max": 1.0, "clip": True},
    "nested": "%#window",
}  # fmt: skip

CONFIGURATIONS = {
    "segmentation inference": SEGMENTATION_INFERENCE,
    "segmentation training": SEGMENTATION_TRAINING,
    "several GPUs": MULTI_GPU,
    "classification": CLASSIFICATION,
    "detection": DETECTION,
}

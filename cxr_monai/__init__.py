"""Chest X-ray classification on MONAI: from radiographs to a trained, tracked, explainable bundle.

Layers, lowest first; each imports only lower ones (``tests/test_layers.py`` checks it)::

    0  errors, labels, schemes, progress   vocabulary; bars and lines that show how far work is; how a process that is
       stopping, ...                       told to end does so
       origins, plurals                    whose images and labels these are; counts with their nouns
    1  data, networks, losses              one table of images, one file to one array; weights and losses
    2  transforms, bundle, evaluation, explain
    3  training, predict, explaining, sharing
    4  report, running, mlflow_model       what a physician or a reviewer reads; a bundle's configuration, run; a bundle
                                           that was logged, as MLflow opens it
    5  studies, finetune                   repeated training under one question; a child bundle for one disease
    6  cli                                 thin: parse, call, print

Importing this package imports nothing else, so that ``cxr-monai --help`` answers at once.
"""

__version__ = "0.1.0"

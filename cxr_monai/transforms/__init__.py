"""Radiograph pipelines as MONAI dictionary transforms: file, or film in memory, to network input.

A bundle's deterministic pipeline is ``LoadRadiographd``, ``ResizeShortestd``, ``QuantiseRadiographd``, MONAI's
``CenterSpatialCropd`` and ``NormaliseRadiographd``: one file becomes a float32 tensor ``[C, S, S]``. What stands before
the crop is done once for a training (``data.cache``). In training ``augmentation`` takes the place of the
crop: by default random crop, zoom, rotation and translation in one resampling. Rows of the array are rows of the
picture: nothing here or in ``cxr_monai.data.radiograph`` transposes, unlike MONAI's PIL reader, so boxes and maps need
no swap.
"""

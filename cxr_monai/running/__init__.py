"""``cxr-monai run``: MONAI's own command for a configuration, of a bundle that was looked at before."""

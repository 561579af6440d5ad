"""A DICOM node: films in, results out, nothing lost. ``cxr-monai-node --config node.toml``.

Receiver, analyser and deliverer are three processes that a supervisor starts; they meet only in a spool on the disk.
"""

# %% [markdown]
# # Fine-tune for one disease, and share
#
# A hospital takes the [first notebook's](first_model.md) model, fine-tunes it for one disease, and sends it to another
# hospital, which checks who made it and what it would execute before anything of it runs.

# %%
import os

import cxr_monai as cxr
from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle
from cxr_monai.sharing.package.pack import pack_bundle
from cxr_monai.sharing.trust.install import install_bundle
from cxr_monai.sharing.trust.keys import make_key, trust_key
from cxr_monai.sharing.trust.sign import sign_archive

PARENT, DISEASE, EPOCHS = "OUT/bundle", "Effusion", 12

# %% [markdown]
# The classifier alone is trained here, on features that are computed once: seconds, and enough for few patients.
# Without `head_only` the network's blocks follow, from the top. Child and parent are judged on the same held-out
# patients.

# %%
child = cxr.fine_tune(PARENT, DISEASE, "manifest.csv", "children", head_only=True, epochs=EPOCHS, learning_rate=0.005)
child

# %%
child.comparisons[["against", "images", "positives", "auroc", "parent_auroc", "difference", "low", "high"]].round(3)

# %% [markdown]
# Its card and its lineage stand in the bundle. Nothing in it is Python; what its configuration would call is looked at
# item by item.

# %%
inspection = inspect_bundle(child.root)
len(inspection.remarks), inspection.refused

# %% [markdown]
# What is sent says what it is worth: figures of patients that it has not seen.

# %%
manifest = cxr.read_manifest("manifest.csv")
predictions = cxr.predict_images(child.bundle, manifest, split="test")
evaluation = cxr.evaluate_predictions(predictions, manifest, "figures", bundle=child.bundle, replicates=200)
evaluation.findings[["finding", "images", "positives", "auroc", "brier"]].round(3)

# %% [markdown]
# Pack, and sign with a key of one's own. The archive holds no path, name or patient of the hospital's. The digest is
# told by telephone.

# %%
key = make_key("hospital-a", "keys")
archive = pack_bundle(child.root, "effusion.zip", metrics="figures", name="cxr-effusion", version="1.0.0")
signed = sign_archive(archive.path, key.path.with_suffix(".pem"))
signed.contents.name, signed.contents.version, signed.digest[:16]

# %% [markdown]
# At the other hospital: trust the key (after comparing its fingerprint), then install. What was altered on the way, or
# would call something that is not on the list, is refused.

# %%
os.environ["CXR_MONAI_BUNDLES"] = "bundles"  # the other hospital's folder of installed bundles
trust_key(key.path, "hospital-a", "trusted")
installed = install_bundle(str(signed.path), trusted="trusted")
installed.record.name, installed.record.version, installed.record.signer

# %% [markdown]
# From then on it runs by its name, and every run compares it with what was signed.

# %%
cxr.predict_images("cxr-effusion", manifest, split="test").table.head().round(3)

# %% [markdown]
# # A first model, on synthetic radiographs
#
# Five cells: draw radiographs with known findings, train, judge on patients that were not seen, and look where the
# network looked. Nothing is downloaded, and no patient is shown.

# %%
import cxr_monai as cxr

COUNT, SIZE = 1200, 96  # radiographs, and their pixels each way
SETTINGS = {"image_size": 64, "epochs": 5, "batch_size": 16, "learning_rate": 0.0015, "init_weights": "none"}
LABELS = ["Cardiomegaly", "Effusion", "Pneumothorax"]

# %% [markdown]
# The radiographs lie in NIH ChestX-ray14's own layout. A *manifest* is the one table of images that every part reads;
# a split never puts a patient on two sides.

# %%
cxr.make_phantoms("phantoms", COUNT, SIZE, masks=False)
manifest = cxr.split_manifest(cxr.make_manifest("nih", "phantoms"), seed=1)
cxr.write_manifest(manifest, "manifest.csv")
manifest.table[["image", "patient_id", "view", "age", "split", *LABELS]].head()

# %% [markdown]
# `train_bundle` runs the bundle `cxr_nih14`, as `python -m monai.bundle run` does. Any of its settings is an argument.

# %%
training = cxr.train_bundle("manifest.csv", "OUT", overlays=["one_cycle"], labels=LABELS, track=False, **SETTINGS)
training

# %% [markdown]
# How good is it on the test part? The intervals come from drawing whole patients again and again.

# %%
predictions = cxr.predict_images(training.bundle, manifest, "predictions.csv", split="test")
evaluation = cxr.evaluate_predictions("predictions.csv", manifest, bundle=training.bundle, replicates=200)
evaluation.findings[["finding", "images", "positives", "auroc", "auroc_patient_low", "auroc_patient_high"]].round(3)

# %% [markdown]
# And where did it look? Here is the radiograph in which it is surest of an effusion, with that finding's map.

# %%
surest = predictions.table.sort_values("Effusion")["image"].iloc[-1]
explained = cxr.explain_images(training.bundle, manifest, split="test", method="cam_layercam", map_stride=8)
explained.show(surest, ["Effusion"])

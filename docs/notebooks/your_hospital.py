# %% [markdown]
# # Your hospital's folder
#
# From a folder of images and a table of labels to an honest answer: what is a model that was trained elsewhere worth
# here, and what does it take to use it? The "hospital" is drawn by a program; put your own folder in its place. The
# model is that of the [first notebook](first_model.md).

# %%
import shutil
from pathlib import Path

import pandas as pd

import cxr_monai as cxr

COUNT, SIZE = 400, 112
MODEL = "OUT/bundle"

# %% [markdown]
# A folder as a hospital might have it: images in a folder for each year, and a spreadsheet with names of its own. One
# file is damaged.

# %%
cxr.make_phantoms("elsewhere", COUNT, SIZE, seed=7, masks=False)
drawn = cxr.make_manifest("nih", "elsewhere").table
drawn["File"] = [f"{2020 + at % 3}/{Path(image).name}" for at, image in enumerate(drawn["image"])]
for image, file in zip(drawn["image"], drawn["File"], strict=True):
    Path("ward", file).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path("elsewhere", image), Path("ward", file))
Path("ward", drawn["File"][0]).write_bytes(b"not an image")
labels = drawn.rename(columns={"patient_id": "MRN"})[["File", "MRN", "age", "Cardiomegaly", "Effusion", "Pneumothorax"]]
labels.to_csv("labels.csv", index=False)
labels.head(3)

# %% [markdown]
# One film. `pixels` is float32 `[1, H, W]`, bright is dense; `provenance` says how the file became these numbers.

# %%
radiograph = cxr.read_radiograph(Path("ward", drawn["File"][1]))
radiograph.pixels.shape, radiograph.provenance

# %% [markdown]
# The table of images. Columns are found by common names; where theirs are others, say which they are.

# %%
ward = cxr.make_manifest(
    "folder", "ward", "ward.csv", labels=Path("labels.csv"), image_column="File", patient_column="MRN"
)
ward.table[list(ward.findings)].apply(pd.Series.value_counts).rename({0: "absent", 1: "present"})

# %% [markdown]
# Without patients, nothing could keep one of them on one side of a split: refused. Errors have stable codes.

# %%
try:
    cxr.make_manifest("folder", "ward", labels=Path("labels.csv"), image_column="File")
except cxr.CxrError as error:
    print(f"[{error.code}] {error}")

# %% [markdown]
# Half of the patients are for adapting, half for judging. The damaged file is reported, and the rest is done.

# %%
ward = cxr.split_manifest(ward, fractions=(0, 0.5, 0.5), seed=1)
cxr.write_manifest(ward, "ward.csv")
raw = cxr.predict_images(MODEL, ward, "raw.csv", raw=True)
raw.errors

# %% [markdown]
# The model as it came, with the operating points that it was sent with, on patients that it has never seen.

# %%
cxr.predict_images(MODEL, ward, "before.csv", split="test")
before = cxr.evaluate_predictions("before.csv", ward, "EVALUATION", split="test", bundle=MODEL, replicates=200)
before.findings[["finding", "images", "positives", "auroc", "auroc_patient_low", "auroc_patient_high"]].round(3)

# %% [markdown]
# Probabilities that were right elsewhere need not be right here: another hospital has other patients. A few hundred
# labelled images move the calibration, in a copy of the bundle. `EVALUATION/report.html` is for physicians.

# %%
cxr.calibrate_bundle(MODEL, raw, ward, "here", split="val", recalibrate="auto")
cxr.predict_images("here", ward, "after.csv", split="test")
after = cxr.evaluate_predictions("after.csv", ward, split="test", bundle="here", replicates=200)
pd.DataFrame(
    {
        "finding": before.findings["finding"],
        "Brier score before": before.findings["brier"].round(4),
        "after": after.findings["brier"].round(4),
    }
)

"""Make the golden bundle of tests/golden: a small one that every later version must go on reading.

    python scripts/make_golden.py

A small DenseNet learns two findings of phantoms of 80x80 pixels; the bundle is calibrated, packed and signed with a key
that is made for it and thrown away. Beside the archive stand the public key, four films, and what the bundle says of
them. It stands for the bundles that hospitals hold: it is made anew only when a format is given up on purpose, which
the changelog tells, never to make a test pass.
"""

import lzma
import os
import shutil
import tempfile
from pathlib import Path

import pandas as pd

from cxr_monai.cli import main as cxr_monai

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
NAME, VERSION = "golden-classification", "1.0.0"
NETWORK = (
    "{'_target_':'DenseNet','spatial_dims':2,'in_channels':1,'out_channels':'$@head_def.outputs','init_features':8,"
    "'growth_rate':8,'bn_size':2,'block_config':[2,2,2],'act':['RELU',{'inplace':False}]}"
)


def run(line: str, *arguments: str) -> None:
    """Run ``cxr-monai`` with the words of a line and further arguments.

    Raises:
        SystemExit: it failed.
    """
    if status := cxr_monai([*line.split(), *arguments]):
        raise SystemExit(f"cxr-monai {line}: exit status {status}")


def main() -> None:
    """Make the files of tests/golden in a temporary folder, then put them there."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "CXR_MONAI_CACHE": f"{folder}/cache",
            "CXR_MONAI_TRUSTED": f"{folder}/trusted",
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        }
        os.chdir(folder)
        run("phantom films --count 900 --size 80 --seed 16 --no-masks")
        run("manifest nih films --out m.csv")
        run("split m.csv --scheme random --fractions 0.5,0.25,0.25")
        run("run cxr_nih14 train --manifest m.csv --output_dir OUT --epochs 15 --image_size 64 --learning_rate 0.005 "
            "--schedule one_cycle", "--labels", "['Cardiomegaly','Effusion']", "--network_def", NETWORK)  # fmt: skip
        run("predict OUT/bundle m.csv --raw --float32 --out raw.csv")
        run("calibrate OUT/bundle --predictions raw.csv --manifest m.csv --split val --out calibrated")
        run("predict calibrated m.csv --float32 --out p.csv")
        run("evaluate --predictions p.csv --manifest m.csv --split test --bundle calibrated --out evaluation")
        run(f"bundle pack calibrated --metrics evaluation --manifest m.csv --name {NAME} --version {VERSION} --out .")
        run("bundle keys golden --out keys")
        run(f"bundle sign {NAME}-{VERSION}.zip --key keys/golden.pem")

        GOLDEN.mkdir(exist_ok=True)
        archive = Path(f"{NAME}-{VERSION}.zip").read_bytes()
        (GOLDEN / "golden.zip.xz").write_bytes(lzma.compress(archive))  # an archive's files are stored as they are
        shutil.copy("keys/golden.pub", GOLDEN / "golden.pub")
        films = sorted(Path("films/images").glob("*.png"))[:4]
        for film in films:
            shutil.copy(film, GOLDEN / film.name)
        run("predict calibrated --float32 --out expected.csv", *map(str, films))
        expected = pd.read_csv("expected.csv").assign(image=[film.name for film in films])
        expected.to_csv(GOLDEN / "expected.csv", index=False, float_format="%.7f")


if __name__ == "__main__":
    main()

"""The CSV files of a result."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from cxr_monai.durable import write_durably


def write_result_tables(tables: Mapping[str, pd.DataFrame], folder: str | Path) -> list[Path]:
    """Write ``<name>.csv`` of each table, with four decimals, empty where undefined; return the files.

    Args:
        tables: by name.
        folder: where; made if it does not exist.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / f"{name}.csv": table for name, table in tables.items()}
    for path, table in files.items():
        write_durably(path, table.to_csv(index=False, float_format="%.4f").encode())
    return list(files)

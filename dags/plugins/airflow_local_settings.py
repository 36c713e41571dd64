"""What every process of Airflow reads while it starts (`plugins_folder` is on its path): the format of the days that forms take."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `dags` and `jobs` lie there

from dags.days import know_formats

know_formats()

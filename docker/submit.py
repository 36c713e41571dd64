"""`python -m jobs …` as a file, which spark-submit wants: `spark-submit … docker/submit.py stage facts --ds 2026-03-15`.

Where it is copied away from the code (YARN), PYTHONPATH names the code.
"""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    runpy.run_module("jobs", run_name="__main__", alter_sys=True)

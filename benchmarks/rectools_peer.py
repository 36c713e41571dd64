"""A model of RecTools on one file of interactions, run by the Python of an environment of its own: see topn_table.py.

`PYTHON rectools_peer.py IN.npz OUT.npz ease|als SETTING K SEED`: IN has user, item, place; OUT user, item, rank; the CPU
seconds of fitting and of making lists are printed last.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pandas as pd
from implicit.als import AlternatingLeastSquares
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import EASEModel, ImplicitALSWrapperModel

given, out, name, number, k, seed = sys.argv[1:]
rows = np.load(given)
frame = pd.DataFrame(
    {
        Columns.User: rows["user"],
        Columns.Item: rows["item"],
        Columns.Weight: 1.0,
        Columns.Datetime: pd.Timestamp(0) + rows["place"] * pd.Timedelta("1s"),
    }
)
frame = frame.drop_duplicates([Columns.User, Columns.Item])
dataset = Dataset.construct(frame)
if name == "ease":
    model = EASEModel(regularization=(100, 300, 500, 1000)[int(number)])
else:
    factors, regularization = ((64, 0.1), (64, 20.0), (128, 0.1), (128, 20.0))[int(number)]
    als = AlternatingLeastSquares(factors=factors, regularization=regularization, alpha=3.0, random_state=int(seed), num_threads=1)
    model = ImplicitALSWrapperModel(als)
begun = time.process_time()
model.fit(dataset)
fitted = time.process_time()
found = model.recommend(users=frame[Columns.User].unique(), dataset=dataset, k=int(k), filter_viewed=True)
done = time.process_time()
np.savez(out, user=found[Columns.User], item=found[Columns.Item], rank=found[Columns.Rank])
print(fitted - begun, done - fitted)

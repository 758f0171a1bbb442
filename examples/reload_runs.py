"""Reload finished runs as tables and draw loss against energy, cell by cell as in a notebook.

Run: python examples/reload_runs.py [ARTIFACTS] [FIGURE]
"""

# %% Which runs are there?
import sys

from clso.artifacts import load_run, load_runs

ARTIFACTS = sys.argv[1] if len(sys.argv) > 1 else "artifacts"
FIGURE = sys.argv[2] if len(sys.argv) > 2 else "artifacts/losses.svg"

runs = load_runs(ARTIFACTS).to_pandas()
print(runs[["run_id", "seed", "status"]].to_string(index=False))

# %% The models of the last finished run
finished = runs[runs["status"] == "finished"]
run = load_run(f"{ARTIFACTS}/runs/{finished['run_id'].iloc[-1]}")
results = run.results.to_pandas()
print(results[["model", "test_loss", "perplexity", "energy_j"]].to_string(index=False))

# %% How its searches went on: the lowest evaluated loss after each generation
import matplotlib  # noqa: E402

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for family, rows in run.generations.to_pandas().groupby("family"):
    axes[0].plot(rows["generation"], rows["best_loss"], label=family)
axes[0].set(xlabel="generation", ylabel="lowest evaluated loss, nats/token")
axes[0].legend()

# %% Test loss against energy; what was not measured has no point
measured = results.dropna(subset=["energy_j"])
axes[1].scatter(measured["energy_j"], measured["test_loss"])
for _, row in measured.iterrows():
    axes[1].annotate(row["model"], (row["energy_j"], row["test_loss"]))
axes[1].set(xscale="log", xlabel="energy, J", ylabel="test loss, nats/token")
figure.savefig(FIGURE)
print(FIGURE)

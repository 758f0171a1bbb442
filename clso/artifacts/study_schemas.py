"""The columns of the tables that studies of the search make."""

from __future__ import annotations

import pyarrow as pa

from clso.artifacts.fields import DURATION, ENERGY, RUN, always

__all__ = ["STUDY_FIELDS"]

# the outcome and the costs of one search of a study
_SEARCHED = [
    always("loss", pa.float64()),
    always("held_back_loss", pa.float64()),
    always("evaluations", pa.int64()),
    always("predictions", pa.int64()),
    always("tokens", pa.int64()),
    *DURATION,
    *ENERGY,
    pa.field("surrogate_energy_j", pa.float64()),
]

STUDY_FIELDS: dict[str, list[pa.Field]] = {
    # one row per evaluation of a search that lowered its loss, and its last; held_back_loss is that
    # of the same genome on validation blocks that no search read
    "rivals": [
        *RUN,
        always("family", pa.string()),
        always("method", pa.string()),
        always("evaluations", pa.int64()),
        always("loss", pa.float64()),
        always("held_back_loss", pa.float64()),
    ],
    # one row per search of an ablation; the base's has no factor and no level; finalists are
    # so many genomes in a row, best first
    "ablations": [
        *RUN,
        always("family", pa.string()),
        always("arm", pa.string()),
        pa.field("factor", pa.string()),
        pa.field("level", pa.string()),
        *_SEARCHED,
        always("n_finalists", pa.int32()),
        always("finalists", pa.list_(pa.int32())),
    ],
    # one row per arm, gene and family of the library, over an ablation's seeds; no slot: all genes
    "selections": [
        *RUN,
        always("family", pa.string()),
        always("arm", pa.string()),
        pa.field("slot", pa.string()),
        always("entry_family", pa.string()),
        always("picked", pa.float64()),
        always("ci_low", pa.float64()),
        always("ci_high", pa.float64()),
        always("chance", pa.float64()),
        always("n_seeds", pa.int64()),
        pa.field("similarity", pa.float64()),
        pa.field("library_similarity", pa.float64()),
    ],
    # one row per search of a study of what it takes to get somewhere; steps are the evaluations
    # that lowered the loss, step_losses the losses since, step_energy_j the joules until then
    "savings": [
        *RUN,
        always("family", pa.string()),
        always("arm", pa.string()),
        *_SEARCHED,
        always("steps", pa.list_(pa.int64())),
        always("step_losses", pa.list_(pa.float64())),
        pa.field("step_energy_j", pa.list_(pa.float64())),
    ],
    # one row per genome that a search for loss and costs evaluated; what comes after on_front is
    # that of the front's models, built and scored on validation once the search has ended
    "pareto": [
        *RUN,
        always("family", pa.string()),
        always("genome", pa.list_(pa.int32())),
        always("genome_hash", pa.string()),
        always("loss", pa.float64()),
        always("stored_bytes", pa.int64()),
        always("flops_per_token", pa.int64()),
        always("on_front", pa.bool_()),
        pa.field("validation_loss", pa.float64()),
        pa.field("tokens", pa.int64()),
        pa.field("energy_j_per_token", pa.float64()),
        *DURATION,
        *ENERGY,
    ],
    # one row per generation of such a search
    "pareto_generations": [
        *RUN,
        always("family", pa.string()),
        always("generation", pa.int32()),
        always("n_evaluated", pa.int32()),
        always("n_failed", pa.int32()),
        always("n_front", pa.int32()),
        pa.field("hypervolume", pa.float64()),
        pa.field("best_loss", pa.float64()),
        *DURATION,
        *ENERGY,
    ],
    # one row per trial of a study
    "trials": [
        *RUN,
        always("study", pa.string()),
        always("number", pa.int32()),
        always("state", pa.string()),
        always("is_best", pa.bool_()),
        pa.field("loss", pa.float64()),
        always("seed_losses", pa.list_(pa.float64())),
        always("search_losses", pa.list_(pa.float64())),
        always("searches", pa.int32()),
        always("evaluations", pa.int64()),
        *DURATION,
        *ENERGY,
        always("params", pa.string()),
        pa.field("retry_of", pa.int32()),
        pa.field("error", pa.string()),
    ],
    # one row per objective, method and tuned dimension of a study
    "importances": [
        *RUN,
        always("study", pa.string()),
        always("objective", pa.string()),
        always("evaluator", pa.string()),
        always("parameter", pa.string()),
        always("importance", pa.float64()),
        always("n_trials", pa.int32()),
    ],
    # one row per search with the tuned settings or the run's own, on seeds that tuned nothing
    "checks": [
        *RUN,
        always("study", pa.string()),
        always("arm", pa.string()),
        pa.field("loss", pa.float64()),
        pa.field("search_loss", pa.float64()),
        always("evaluations", pa.int64()),
        *DURATION,
        *ENERGY,
    ],
}

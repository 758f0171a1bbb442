"""The columns of every stored table.

A schema's name and version stand in the Parquet footer, so that a file says what it is. Each table
has a version of its own, which rises when its columns change. Units are in the names (`energy_j`,
`duration_s`, `stored_bytes`); losses are nats per token. A null is "not measured"; a column that is
always measured is declared not null.
"""

from __future__ import annotations

import pyarrow as pa

__all__ = ["NAME_KEY", "SCHEMAS", "SCHEMA_VERSION", "VERSION_KEY", "schema", "schema_version"]

SCHEMA_VERSION = 2
"""The version of manifests, and of the tables that `_VERSIONS` does not name."""
_VERSIONS = {"baseline": 3, "energy": 3, "opponents": 4, "results": 3, "warm_start": 3}
NAME_KEY = b"clso.schema"
VERSION_KEY = b"clso.schema_version"


def _always(name: str, kind: pa.DataType) -> pa.Field:
    """Return a column that is never null."""
    return pa.field(name, kind, nullable=False)


_RUN = [_always("run_id", pa.string()), _always("seed", pa.int64())]
_DURATION = [pa.field("duration_s", pa.float64())]
_ENERGY = [
    pa.field("energy_j", pa.float64()),
    pa.field("energy_source", pa.string()),
    pa.field("estimated", pa.bool_()),
]
_INTERVAL = [pa.field("ci_low", pa.float64()), pa.field("ci_high", pa.float64())]
_ARRAY = pa.struct(
    [
        _always("name", pa.string()),
        _always("dtype", pa.string()),
        _always("shape", pa.list_(pa.int32())),
        # 64-bit offsets: a library of large matrices passes 2 GiB in one column
        _always("data", pa.large_binary()),
    ]
)

# one row per logged step of each AdamW trial; duration and energy are totals since its start
_TRAINING = [
    *_RUN,
    _always("lr", pa.float64()),
    _always("schedule", pa.string()),
    _always("batch_size", pa.int32()),
    _always("dropout", pa.float64()),
    _always("passes", pa.int32()),
    _always("threads", pa.int32()),
    _always("step", pa.int64()),
    _always("tokens", pa.int64()),
    pa.field("train_loss", pa.float64()),
    pa.field("validation_loss", pa.float64()),
    *_DURATION,
    *_ENERGY,
]

# outcome and costs of one search of a study
_SEARCHED = [
    _always("loss", pa.float64()),
    _always("held_back_loss", pa.float64()),
    _always("evaluations", pa.int64()),
    _always("predictions", pa.int64()),
    _always("tokens", pa.int64()),
    *_DURATION,
    *_ENERGY,
    pa.field("surrogate_energy_j", pa.float64()),
]

# a model of a text in a study of several texts: genome, search, costs and test
_OF_TEXT = [
    _always("genome", pa.list_(pa.int32())),
    pa.field("loss", pa.float64()),
    pa.field("held_back_loss", pa.float64()),
    _always("evaluations", pa.int64()),
    pa.field("library_energy_j", pa.float64()),
    pa.field("search_energy_j", pa.float64()),
    *_DURATION,
    *_ENERGY,
    _always("test_loss", pa.float64()),
    *_INTERVAL,
    pa.field("block_ci_low", pa.float64()),
    pa.field("block_ci_high", pa.float64()),
    _always("test_tokens", pa.int64()),
    _always("stored_bytes", pa.int64()),
]

_FIELDS: dict[str, list[pa.Field]] = {
    # one row per individual and generation
    "evaluations": [
        *_RUN,
        _always("family", pa.string()),
        _always("generation", pa.int32()),
        _always("individual", pa.int32()),
        _always("genome", pa.list_(pa.int32())),
        _always("genome_hash", pa.string()),
        _always("origin", pa.string()),
        _always("status", pa.string()),
        pa.field("predicted_loss", pa.float64()),
        pa.field("predicted_std", pa.float64()),
        pa.field("screening_loss", pa.float64()),
        pa.field("evaluated_loss", pa.float64()),
        pa.field("fidelity", pa.float64()),
        pa.field("tokens", pa.int64()),
        *_DURATION,
        *_ENERGY,
    ],
    # one row per generation; best_loss is the incumbent's, mean and std are of the generation
    "generations": [
        *_RUN,
        _always("family", pa.string()),
        _always("generation", pa.int32()),
        pa.field("best_loss", pa.float64()),
        pa.field("mean_loss", pa.float64()),
        pa.field("std_loss", pa.float64()),
        _always("n_evaluated", pa.int32()),
        _always("n_predicted", pa.int32()),
        _always("n_cached", pa.int32()),
        _always("n_failed", pa.int32()),
        _always("n_screened", pa.int32()),
        _always("population", pa.int32()),
        _always("tokens", pa.int64()),
        _always("n_unique", pa.int32()),
        pa.field("mean_hamming", pa.float64()),
        pa.field("surrogate", pa.string()),
        _always("n_discarded", pa.int32()),
        _always("n_random", pa.int32()),
        pa.field("spared_share", pa.float64()),
        pa.field("spearman", pa.float64()),
        pa.field("topk_recall", pa.float64()),
        *_DURATION,
        *_ENERGY,
    ],
    "baseline": _TRAINING,
    # the same for the trials of the gradient models beside the write-up's; model_index: in
    # opponents.models; training_seed: of weights, order and dropout
    "opponents": [
        *_TRAINING[: len(_RUN)],
        _always("model_index", pa.int32()),
        _always("network", pa.string()),
        _always("head", pa.string()),
        _always("optimizer", pa.string()),
        _always("n_layer", pa.int32()),
        _always("n_embd", pa.int32()),
        _always("tied", pa.bool_()),
        _always("training_seed", pa.int64()),
        _always("weight_decay", pa.float64()),
        *_TRAINING[len(_RUN) :],
    ],
    # AdamW that starts from the crystalline GPT of the search
    "warm_start": _TRAINING,
    # one row per model; ci_low and ci_high are over documents
    "results": [
        *_RUN,
        _always("model", pa.string()),
        pa.field("validation_loss", pa.float64()),
        _always("test_loss", pa.float64()),
        *_INTERVAL,
        pa.field("block_ci_low", pa.float64()),
        pa.field("block_ci_high", pa.float64()),
        _always("perplexity", pa.float64()),
        pa.field("bits_per_byte", pa.float64()),
        pa.field("train_tokens", pa.int64()),
        _always("test_tokens", pa.int64()),
        _always("test_documents", pa.int64()),
        _always("test_blocks", pa.int64()),
        *_ENERGY,
        *_DURATION,
        pa.field("cpu_s", pa.float64()),
        pa.field("scoring_j_per_token", pa.float64()),
        pa.field("generation_j_per_token", pa.float64()),
        pa.field("use_energy_source", pa.string()),
        pa.field("use_estimated", pa.bool_()),
        pa.field("stored_bytes", pa.int64()),
    ],
    # one row per pair of models and unit; difference: test loss of a minus test loss of b
    "comparisons": [
        *_RUN,
        _always("model_a", pa.string()),
        _always("model_b", pa.string()),
        _always("difference", pa.float64()),
        *_INTERVAL,
        _always("unit", pa.string()),
        _always("n_units", pa.int64()),
        _always("resamples", pa.int64()),
        _always("confidence", pa.float64()),
    ],
    # one row per model and piece (document, block) of a split; nll is the sum over its targets
    "scores": [
        *_RUN,
        _always("model", pa.string()),
        _always("split", pa.string()),
        _always("document", pa.int64()),
        _always("block", pa.int64()),
        _always("n_tokens", pa.int32()),
        _always("n_bytes", pa.int64()),
        _always("nll", pa.float64()),
    ],
    # one row per model: what it writes after the first tokens of validation
    "samples": [
        *_RUN,
        _always("model", pa.string()),
        _always("prompt", pa.string()),
        _always("followed_by", pa.string()),
        _always("text", pa.string()),
        _always("n_tokens", pa.int32()),
        _always("temperature", pa.float64()),
        _always("top_p", pa.float64()),
    ],
    # one row per stage and device; a reused stage keeps its first joules
    "energy": [
        *_RUN,
        _always("stage", pa.string()),
        _always("device", pa.string()),
        pa.field("energy_j", pa.float64()),
        *_DURATION,
        pa.field("mean_power_w", pa.float64()),
        pa.field("energy_source", pa.string()),
        pa.field("estimated", pa.bool_()),
        pa.field("reason", pa.string()),
        _always("reused", pa.bool_()),
    ],
    # one row per repeat and model that `clso energy repeat` has made again
    "energy_repeats": [
        *_RUN,
        _always("repeat", pa.int32()),
        _always("model", pa.string()),
        *_DURATION,
        pa.field("cpu_s", pa.float64()),
        *_ENERGY,
    ],
    # one row per structured matrix; arrays holds its numbers, bytes in C order
    "library": [
        _always("slot", pa.string()),
        _always("index", pa.int32()),
        _always("family", pa.string()),
        _always("rows", pa.int32()),
        _always("columns", pa.int32()),
        _always("parameters", pa.string()),
        _always("arrays", pa.list_(_ARRAY)),
        _always("stored_bytes", pa.int64()),
        _always("flops", pa.int64()),
        _always("density", pa.float64()),
        _always("rank", pa.int32()),
        _always("spectral_norm", pa.float64()),
    ],
    # one row per basis function; probabilities of all targets of one split, in order
    "columns": [
        _always("index", pa.int32()),
        _always("name", pa.string()),
        _always("family", pa.string()),
        _always("vocab_size", pa.int64()),
        _always("probabilities", pa.large_list(pa.float32())),
    ],
    # one row per basis function; stored arrays, and operations per token
    "function_costs": [
        _always("index", pa.int32()),
        _always("name", pa.string()),
        _always("flops_per_token", pa.int64()),
        _always("array_names", pa.list_(pa.string())),
        _always("array_bytes", pa.list_(pa.int64())),
    ],
    # one row per document of a data set, in the order of its split's token stream
    "splits": [
        _always("document", pa.int64()),
        _always("split", pa.string()),
        _always("n_bytes", pa.int64()),
        _always("n_tokens", pa.int64()),
        _always("token_offset", pa.int64()),
    ],
    # one row per evaluation that lowered a search's loss, and for its last evaluation;
    # held_back_loss: of the same genome, on validation blocks that no search read
    "rivals": [
        *_RUN,
        _always("family", pa.string()),
        _always("method", pa.string()),
        _always("evaluations", pa.int64()),
        _always("loss", pa.float64()),
        _always("held_back_loss", pa.float64()),
    ],
    # one row per search of a benchmark; losses: of its evaluations, in their order;
    # identity: a digest of what the outcome depends on besides; cpu_s: without the evaluations
    "standings": [
        _always("problem", pa.string()),
        _always("arm", pa.string()),
        _always("seed", pa.int64()),
        _always("identity", pa.string()),
        _always("losses", pa.list_(pa.float64())),
        _always("cpu_s", pa.float64()),
        _always("evaluation_cpu_s", pa.float64()),
    ],
    # one row per search of an ablation; the base has no factor and no level;
    # finalists: n_finalists genomes, concatenated, best first
    "ablations": [
        *_RUN,
        _always("family", pa.string()),
        _always("arm", pa.string()),
        pa.field("factor", pa.string()),
        pa.field("level", pa.string()),
        *_SEARCHED,
        _always("n_finalists", pa.int32()),
        _always("finalists", pa.list_(pa.int32())),
    ],
    # one row per arm, gene and library family, over an ablation's seeds; slot null: all genes
    "selections": [
        *_RUN,
        _always("family", pa.string()),
        _always("arm", pa.string()),
        pa.field("slot", pa.string()),
        _always("entry_family", pa.string()),
        _always("picked", pa.float64()),
        _always("ci_low", pa.float64()),
        _always("ci_high", pa.float64()),
        _always("chance", pa.float64()),
        _always("n_seeds", pa.int64()),
        pa.field("similarity", pa.float64()),
        pa.field("library_similarity", pa.float64()),
    ],
    # one row per search of a study of savings; steps: numbers of the evaluations that lowered the
    # loss; step_losses: the loss from there on; step_energy_j: the joules until there
    "savings": [
        *_RUN,
        _always("family", pa.string()),
        _always("arm", pa.string()),
        *_SEARCHED,
        _always("steps", pa.list_(pa.int64())),
        _always("step_losses", pa.list_(pa.float64())),
        pa.field("step_energy_j", pa.list_(pa.float64())),
    ],
    # one row per genome that a search for loss and costs evaluated; columns after on_front: for
    # the front's models only, built and scored on validation after the search
    "pareto": [
        *_RUN,
        _always("family", pa.string()),
        _always("genome", pa.list_(pa.int32())),
        _always("genome_hash", pa.string()),
        _always("loss", pa.float64()),
        _always("stored_bytes", pa.int64()),
        _always("flops_per_token", pa.int64()),
        _always("on_front", pa.bool_()),
        pa.field("validation_loss", pa.float64()),
        pa.field("tokens", pa.int64()),
        pa.field("energy_j_per_token", pa.float64()),
        *_DURATION,
        *_ENERGY,
    ],
    # one row per generation of a search for loss and costs
    "pareto_generations": [
        *_RUN,
        _always("family", pa.string()),
        _always("generation", pa.int32()),
        _always("n_evaluated", pa.int32()),
        _always("n_failed", pa.int32()),
        _always("n_front", pa.int32()),
        pa.field("hypervolume", pa.float64()),
        pa.field("best_loss", pa.float64()),
        *_DURATION,
        *_ENERGY,
    ],
    # one row per seed, target text and arm of a transfer; source null: nothing of another text;
    # loss, held_back_loss: null where no genome was searched; energy_j: work on the target alone
    "transfer": [
        *_RUN,
        _always("family", pa.string()),
        pa.field("source", pa.string()),
        _always("target", pa.string()),
        _always("arm", pa.string()),
        *_OF_TEXT,
    ],
    # one row per seed, text and kind of library; library_bytes and used_bytes: of all texts
    # together, each distinct array once
    "multitask": [
        *_RUN,
        _always("family", pa.string()),
        _always("library", pa.string()),
        _always("text", pa.string()),
        *_OF_TEXT,
        _always("library_bytes", pa.int64()),
        _always("used_bytes", pa.int64()),
    ],
    # one row per seed, method, stage and text of a stream; forgetting: test_loss minus that right
    # after the text's own stage; columns of energy: of the stage
    "continual": [
        *_RUN,
        _always("family", pa.string()),
        _always("method", pa.string()),
        _always("stage", pa.int32()),
        _always("learned", pa.string()),
        _always("text", pa.string()),
        pa.field("test_loss", pa.float64()),
        pa.field("forgetting", pa.float64()),
        pa.field("second_half_loss", pa.float64()),
        pa.field("inferred_loss", pa.float64()),
        pa.field("inferred_share", pa.float64()),
        pa.field("averaged_loss", pa.float64()),
        _always("test_tokens", pa.int64()),
        _always("stored_bytes", pa.int64()),
        *_DURATION,
        *_ENERGY,
    ],
    # one row per fit of a classifier, and per floor; the lists are of the examples it was scored on
    "finetunings": [
        *_RUN,
        _always("task", pa.string()),
        _always("start", pa.string()),
        _always("chooses", pa.bool_()),
        pa.field("lr", pa.float64()),
        pa.field("train_loss", pa.float64()),
        pa.field("loss", pa.float64()),
        pa.field("accuracy", pa.float64()),
        pa.field("matthews", pa.float64()),
        _always("train_examples", pa.int32()),
        pa.field("tokens", pa.int64()),
        _always("expected", pa.list_(pa.int32())),
        _always("predicted", pa.list_(pa.int32())),
        _always("documents", pa.list_(pa.int64())),
        *_DURATION,
        *_ENERGY,
    ],
    # one row per trial of a tuning study
    "trials": [
        *_RUN,
        _always("study", pa.string()),
        _always("number", pa.int32()),
        _always("state", pa.string()),
        _always("is_best", pa.bool_()),
        pa.field("loss", pa.float64()),
        _always("seed_losses", pa.list_(pa.float64())),
        _always("search_losses", pa.list_(pa.float64())),
        _always("searches", pa.int32()),
        _always("evaluations", pa.int64()),
        *_DURATION,
        *_ENERGY,
        _always("params", pa.string()),
        pa.field("retry_of", pa.int32()),
        pa.field("error", pa.string()),
    ],
    # one row per objective, method and tuned dimension of a tuning study
    "importances": [
        *_RUN,
        _always("study", pa.string()),
        _always("objective", pa.string()),
        _always("evaluator", pa.string()),
        _always("parameter", pa.string()),
        _always("importance", pa.float64()),
        _always("n_trials", pa.int32()),
    ],
    # one row per search with the tuned or the run's settings, on seeds that tuning did not use
    "checks": [
        *_RUN,
        _always("study", pa.string()),
        _always("arm", pa.string()),
        pa.field("loss", pa.float64()),
        pa.field("search_loss", pa.float64()),
        _always("evaluations", pa.int64()),
        *_DURATION,
        *_ENERGY,
    ],
}

SCHEMAS: dict[str, pa.Schema] = {
    name: pa.schema(
        fields,
        metadata={
            NAME_KEY: name.encode(),
            VERSION_KEY: str(_VERSIONS.get(name, SCHEMA_VERSION)).encode(),
        },
    )
    for name, fields in _FIELDS.items()
}


def schema(name: str) -> pa.Schema:
    """Return a table's schema; its name and version stand in the metadata.

    Raises:
        ValueError: there is no such table.
    """
    if name not in SCHEMAS:
        raise ValueError(f"no schema is called {name!r}, expected one of {', '.join(SCHEMAS)}")
    return SCHEMAS[name]


def schema_version(name: str) -> str:
    """Return the version of a table's schema, as it stands in the footer.

    Raises:
        ValueError: there is no such table.
    """
    version: bytes = schema(name).metadata[VERSION_KEY]
    return version.decode()

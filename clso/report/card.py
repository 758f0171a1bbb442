"""The model card of an exported model: what it is, its results, data, licence, costs and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from clso.artifacts import Run
from clso.energy import Measurement
from clso.report.formats import BYTES, COUNT, DURATION, ENERGY, format_source
from clso.report.markdown import table_markdown
from clso.report.models import Models
from clso.report.results import result_table

__all__ = ["CARD_CONFIG", "model_card", "refit_card"]

CARD_CONFIG: Final = "clso-config.yaml"
"""The file of an export with the whole configuration of its run."""

_ABOUT: Final = {
    "gpt": "It is a GPT-2 whose weight matrices were picked from a library by a search. No "
    "gradient has trained it. It is an ordinary checkpoint: `transformers` needs nothing else.",
    "adamw": "It is a GPT-2 that AdamW trained, the baseline of its run. It is an ordinary "
    "checkpoint: `transformers` needs nothing else.",
    "warm_start": "It is a GPT-2 that gradients trained from the crystalline GPT of its run. It is "
    "an ordinary checkpoint: `transformers` needs nothing else.",
    "mixture": "It is a weighted sum of count-based and pointer predictors, which a search picked. "
    "No gradient has trained it. It needs the package `clso`.",
    "hybrid": "It is a weighted sum of count-based and pointer predictors, which a search picked, "
    "and of a network that gradients trained. It needs the package `clso`.",
}


def model_card(run: Run, name: str, *, is_mixture: bool = False, is_network: bool = False) -> str:
    """Return the card of a model as Markdown, with the metadata that the Hugging Face hub reads.

    A mixture or a network needs the package `clso`; any other model is a GPT-2.
    """
    title = Models(run.manifest).title(name)
    return _card(
        f"{title[:1].upper()}{title[1:]} of the run {run.run_id}",
        _about(run, name, is_network=is_network),
        {
            "Use": _use(needs_clso=is_mixture or is_network),
            "Results": "\n\n".join(_results(run, name)),
            "Data and licence": _list(_data(run, name)),
            "Made by": _made_by(run),
            "Limitations": _list(
                _limitations(run, name, is_mixture=is_mixture, is_network=is_network)
            ),
        },
        _tag(name, is_network=is_network),
    )


def refit_card(
    run: Run, name: str, counted: Mapping[str, int], spent: Measurement, command: str
) -> str:
    """Return the card of a mixture whose functions were counted on all text of a data set.

    `counted` has the tokens of each split, `spent` what counting took.
    """
    title = Models(run.manifest).title(name)
    every = COUNT.text(sum(counted.values()))
    splits = ", ".join(f"{split} {COUNT.text(tokens)}" for split, tokens in counted.items())
    energy = (
        f"{ENERGY.text(spent.energy_j)} ({format_source(spent.energy_source, spent.estimated)})"
        if spent.energy_j is not None
        else "joules that were not measured"
    )
    results = (
        "**It has no test figure.** It has read the test split, so no loss on that text says how "
        f"good it is. The results of the run {run.run_id} are those of another model: the same "
        "functions and weights, counted on the run's training text alone."
    )
    data = [
        f"Counted on all {every} tokens of the data set ({splits}), whatever the run's budget. The "
        f"data set's fingerprint is {run.manifest['data_fingerprint']}.",
        "The weights of the functions, their token classes and, if there are any, their networks "
        "are those of the run, fitted on its training text.",
        *_origin(run.config),
    ]
    return _card(
        f"{title[:1].upper()}{title[1:]} of the run {run.run_id}, counted on all text",
        _ABOUT.get(name, "It was made by CLSO."),
        {
            "Use": _use(needs_clso=True),
            "Results": results,
            "Data and licence": _list(iter(data)),
            "Made by": f"```sh\n{command}\n```\n\nCounting took {energy} and "
            f"{DURATION.text(spent.duration_s)}. The run itself was made by:\n\n{_made_by(run)}",
            "Limitations": _list(_limitations(run, name, is_mixture=True, has_test=False)),
        },
        "crystalline",
    )


def _card(title: str, about: str, sections: Mapping[str, str], tag: str) -> str:
    head = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["clso", tag],
    }
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {title}",
        f"A small language model, made with CLSO (Crystalline Latent Space Optimization). {about}",
    ]
    for name, text in sections.items():
        parts += [f"## {name}", text]
    return "\n\n".join(parts) + "\n"


def _tag(name: str, *, is_network: bool) -> str:
    if name in ("gpt", "mixture", "hybrid"):
        return "crystalline"
    return "network" if is_network else "gpt2"


def _about(run: Run, name: str, *, is_network: bool) -> str:
    if name != "opponent":
        return _ABOUT.get(name, "It was made by CLSO.")
    kind = Models(run.manifest).kind(name)
    needs = (
        "It needs the package `clso`."
        if is_network
        else "It is an ordinary checkpoint: `transformers` needs nothing else."
    )
    return f"It is the strongest model of its run that gradients trained: {kind}. {needs}"


def _list(sentences: Iterator[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _use(*, needs_clso: bool) -> str:
    option = ", trust_remote_code=True" if needs_clso else ""
    note = (
        "\n\n`trust_remote_code` runs `modeling_clso.py`, which only imports `clso.hub`. After "
        "`import clso.hub` the option is not needed."
        if needs_clso
        else ""
    )
    return (
        "```python\n"
        "from transformers import pipeline\n\n"
        'folder = "."  # where this file is\n'
        f'generate = pipeline("text-generation", model=folder{option})\n'
        'print(generate("In the beginning", max_new_tokens=20)[0]["generated_text"])\n'
        f"```{note}"
    )


def _results(run: Run, name: str) -> Iterator[str]:
    if not run.has("results"):
        yield "The run has no results yet: `clso analyze` scores its models on the test split."
        return
    yield "Every model of the run, scored once on the same test tokens."
    table = result_table(run)
    yield table_markdown(table.select([column.header for column in table.columns], title=""))
    for row in run.results.to_pylist():
        if row["model"] == name:
            yield _energy(row)


def _energy(row: Mapping[str, Any]) -> str:
    if row["energy_j"] is None:
        return "The energy of making this model was not measured."
    source = format_source(row["energy_source"], row["estimated"])
    return (
        f"Making this model took {ENERGY.text(row['energy_j'])} ({source}) and "
        f"{DURATION.text(row['duration_s'])}; it stores {BYTES.text(row['stored_bytes'])}."
    )


def _data(run: Run, name: str) -> Iterator[str]:
    data = run.config.get("data", {})
    splits = run.manifest.get("dataset", {}).get("splits", {})
    if "train" in splits:
        results = run.results.to_pylist() if run.has("results") else []
        learned = {row["model"]: row["train_tokens"] for row in results}.get(name)
        if learned is None:  # no results yet; a budget of null is all of both splits
            every = sum(splits[split]["tokens"] for split in ("train", "tune"))
            learned = data.get("train_tokens") or every
        tokens = COUNT.text(learned)
        documents = COUNT.text(splits["train"]["documents"])
        yield (
            f"Learned from {tokens} tokens; the training split has {documents} documents. The data "
            f"set's fingerprint is {run.manifest['data_fingerprint']}."
        )
    yield from _origin(run.config)


def _origin(config: Mapping[str, Any]) -> Iterator[str]:
    """Say whose text and vocabulary it is."""
    tokenizer = config.get("tokenizer", {})
    yield _licence(config.get("data", {}))
    if tokenizer.get("kind") == "gpt2":
        yield "The vocabulary is GPT-2's, which OpenAI published under the MIT licence."
    else:
        yield "The vocabulary is a byte-level BPE, learned from the same text."


def _licence(data: Mapping[str, Any]) -> str:
    source = data.get("source")
    if source == "package":
        package = data["package"]
        if package["module"] == "bible":
            return (
                "Text: the King James Version. It is in the public domain, except in the United "
                "Kingdom, where the Crown has rights in it."
            )
        return (
            f"Text: {package['resource']} of the Python package {package['module']}. Its licence "
            "decides on what may be done with this model; CLSO does not know it."
        )
    if source == "hub":
        hub = data["hub"]
        return (
            f"Text: {hub['name']} ({hub['config'] or 'no configuration'}, revision "
            f"{hub['revision']}) of the Hugging Face hub. The licence on its page decides on what "
            "may be done with this model."
        )
    return (
        "Text: files of the person who made the model. Their licence decides on what may be done "
        "with it; CLSO does not know it."
    )


def _made_by(run: Run) -> str:
    host, versions = run.manifest.get("host", {}), run.manifest.get("versions", {})
    made_with = ", ".join(
        f"{name} {versions[name]}" for name in ("clso", "python", "torch") if name in versions
    )
    machine = f"{host.get('processor', 'an unknown processor')}, {host.get('cores', '?')} cores"
    return (
        f"```sh\nclso run {CARD_CONFIG}\n```\n\n"
        f"The file holds the whole configuration of the run {run.run_id}, seed "
        f"{run.manifest.get('seed')}. It was made with {made_with} on {machine}."
    )


def _limitations(
    run: Run, name: str, *, is_mixture: bool, is_network: bool = False, has_test: bool = True
) -> Iterator[str]:
    block_size = run.config.get("data", {}).get("block_size")
    yield (
        "It continues text in the manner of its training text, and knows nothing else. It was not "
        "taught to follow instructions, and nothing filters what it says."
    )
    if is_mixture:
        yield f"It sees the last {block_size} tokens."
        yield "It has counts, not parameters: it runs on the CPU, and cannot be trained further."
        yield "Its counts are those of its training text, and it can repeat passages of it."
    elif is_network:
        yield f"It sees the last {block_size} tokens."
        yield "In `transformers` it only gives probabilities: it cannot be trained further there."
    else:
        yield f"Prompt and continuation together have at most {block_size} tokens."
    if name == "gpt":
        yield "Its weights are fixed entries of a library; training it further makes another model."
    yield "The end token also pads. Texts of a batch are padded on the left."
    if has_test:
        yield "The results hold for text like its test split."

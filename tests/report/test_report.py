import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from clso.artifacts import Run, RunFolder, load_run
from clso.report.card import model_card
from clso.report.html import Block, ReportSection
from clso.report.html import Page as HtmlPage
from clso.report.run import report_page
from clso.report.settings import settings_section
from clso.report.table import Table

MakeRun = Callable[..., Run]
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """The page's text, ids, outward references and unclosed elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.images_without_label: list[str] = []
        self._open: list[str] = []
        self._text: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if tag not in VOID:
            self._open.append(tag)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        for name in ("src", "href", "xlink:href", "action"):
            if found.get(name):
                self.references.append(str(found[name]))
        if tag == "svg" and "aria-labelledby" not in found:
            self.images_without_label.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self._text.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self._text).replace("\u00a0", " "))


@pytest.fixture(scope="module")
def html(run: Run) -> str:
    return report_page(run).html()


@pytest.fixture(scope="module")
def text(html: str) -> str:
    return Page(html).text


def test_the_page_is_well_formed_and_asks_nothing_of_any_server(html: str) -> None:
    page = Page(html)
    assert all(ref.startswith("#") or ref == "data:," for ref in page.references)
    assert "@import" not in html
    assert "<script" not in html
    assert "default-src 'none'" in html
    assert len(set(page.ids)) == len(page.ids)
    assert page.images_without_label == []
    assert len(html) < 200_000


def test_the_headline_and_every_model_stand_in_the_page(text: str) -> None:
    assert "run quick-0a1b2c3d · 2026-11-22 03:10 UTC" in text
    assert "AdamW GPT-2 wins" in text
    assert "crystalline GPT does not beat the bigram floor" in text
    for label in ("uniform", "unigram", "bigram", "crystalline GPT", "AdamW GPT-2"):
        assert label in text


def test_true_counts_and_what_looked_too_good_are_told(text: str) -> None:
    assert "192 individuals in 12 generations. Scored in their generation: 114 (59 %)" in text
    assert "Only predicted: 56." in text
    assert "It ended because all generations were run." in text
    assert "The surrogate started in generation 5" in text
    assert "The lowest prediction of the search was 1.654" in text
    assert "never evaluated, so the prediction counts for nothing" in text


def test_a_prediction_is_named_nowhere_but_as_a_prediction(text: str) -> None:
    for place in re.finditer(r"1\.654", text):
        assert "prediction" in text[max(0, place.start() - 60) : place.start()]


def test_the_energy_ratio_names_its_kind_and_meter(text: str) -> None:
    assert (
        "the training steps of AdamW's winning run alone took 550 J: CPU-time ratio 0.37." in text
    )
    assert "Against AdamW's whole sweep (1.69 kJ) it is 0.12." in text
    assert "CPU seconds times a fixed power per busy core" in text


def test_a_best_rate_at_the_edge_of_the_sweep_is_disclosed(make_run: MakeRun, text: str) -> None:
    assert "learning rate is the" not in text
    run = make_run()
    rows = [row for row in run.baseline.to_pylist() if row["lr"] < 4e-3]
    run.folder.write_rows("baseline", rows)
    told = Page(report_page(load_run(run.path)).html()).text
    assert "The best learning rate is the largest that was tried" in told


def test_the_energy_of_both_sides_stands_at_the_top(text: str) -> None:
    top = text[: text.index("Results")]
    assert "energy, crystalline GPT 204 J cpu_model, estimated" in top
    assert "energy, AdamW GPT-2 550 J cpu_model, estimated; winning run alone" in top


def test_the_command_is_as_typed_in_the_folder_of_the_outputs(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    out = run.path.parents[1].rename(run.path.parents[1].with_name("artifacts"))
    run = load_run(out / "runs" / run.path.name)
    monkeypatch.chdir(out.parent)
    typed = f"clso run artifacts/runs/{run.path.name}/config.yaml"
    assert f"{typed}<" in report_page(run).html()
    monkeypatch.chdir(out)
    assert f"clso run runs/{run.path.name}/config.yaml --out .<" in report_page(run).html()


def test_studies_have_commands_of_their_own(tmp_path: Path) -> None:
    search = {"generations": 4, "population": 12, "patience": None}
    manifest = {
        "run_id": "studied",
        "ablations": {"gpt": {"seeds": 8, "evaluations": 96}},
        "rivals": {"family": "mixture", "seeds": 3, "evaluations": [40, 80]},
        "pareto": {"mixture": {"objectives": ["loss", "flops"], "search": search}},
    }
    RunFolder(tmp_path / "runs" / "studied").write_manifest(manifest)
    command, *_ = (
        block.content
        for block in settings_section(load_run(tmp_path / "runs" / "studied")).blocks
        if isinstance(block, Block) and block.kind == "command"
    )
    words = [line.split()[1:] for line in command.splitlines()]
    assert [word[0] for word in words] == ["ablate", "rivals", "pareto"]
    options = [" ".join(word[2 : word.index("--out")]) for word in words]
    assert options == [
        "--family gpt --seeds 8 --evaluations 96",
        "--family mixture --seeds 3 --evaluations 40 --evaluations 80",
        "--family mixture --objectives loss,flops --generations 4 --population 12",
    ]


@pytest.mark.parametrize(("columns", "stacks"), [(5, False), (6, True)])
def test_a_wide_table_has_a_label_at_each_number_and_stacks_on_a_phone(
    columns: int, stacks: bool
) -> None:
    table = Table("wide", [f"column {number}" for number in range(columns)])
    table.add(*map(str, range(columns)))
    html = HtmlPage("t", "", "h", [], [], [ReportSection("s", [table])], "").html()
    assert ('<table class="stacks">' in html) is stacks
    assert '<td data-label="column 4">4</td>' in html


def test_a_model_card_tells_of_the_tokens_that_the_model_learned_from(
    make_run: MakeRun,
) -> None:
    run = make_run()
    run.manifest["config"]["data"] = {"source": "files", "train_tokens": None}
    splits = {split: {"documents": 9, "tokens": 700} for split in ("train", "tune")}
    run.manifest |= {"data_fingerprint": "f", "dataset": {"splits": splits}}
    assert "Learned from 256,000 tokens; the" in model_card(run, "bigram", is_mixture=False)
    run.folder.remove_table("results")
    assert "Learned from 1,400 tokens; the" in model_card(run, "gpt", is_mixture=False)


def test_data_fingerprints_and_unused_tokens_are_told(text: str) -> None:
    assert "51c2d9e08c1f44aa" in text
    assert "247,260" in text
    assert "8,192 tokens" in text


def test_a_run_that_has_only_begun_names_the_missing_stages(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_manifest({"run_id": "bare"})
    text = Page(report_page(load_run(tmp_path)).html()).text
    assert "No model has been scored yet" in text
    for command in ("analyze", "search", "baseline", "prepare", "run"):
        assert f"clso {command} CONFIG" in text


def test_a_baseline_switched_off_is_told_as_such(make_run: MakeRun) -> None:
    run = make_run({"unigram": 6.6, "gpt": 6.5})
    run.folder.table("baseline").unlink()
    run.manifest["config"]["baseline"] = {"enabled": False}
    text = Page(report_page(run).html()).text
    assert "switched off in this run's config (baseline.enabled)" in text
    assert "this run has no AdamW baseline to compare it with" in text


def test_the_page_is_light_fits_phones_and_prints(html: str) -> None:
    assert '<meta name="viewport" content="width=device-width' in html
    assert '<meta name="color-scheme" content="light">' in html
    assert "@media print" in html


def test_a_search_under_way_that_only_failed_is_a_report_too(make_run: MakeRun) -> None:
    run = make_run()
    for table in ("evaluations", "generations"):
        rows = run.table(table).to_pylist()
        for name in ("results", "comparisons", "baseline", "energy", table):
            run.folder.table(name).unlink(missing_ok=True)
        losses = {"evaluated_loss", "predicted_loss", "best_loss", "mean_loss", "std_loss"}
        failed = [
            {
                name: None if name in losses else "failed" if name == "status" else value
                for name, value in row.items()
            }
            for row in rows
            if row["generation"] < 3
        ]
        run.folder.sink("gpt").append(table, 0, failed)
    text = Page(report_page(load_run(run.path)).html()).text
    assert "48 individuals in 3 generations. Scored in their generation: 48 (100 %)" in text
    assert "48 of them without a finite loss" in text
    assert "No generation has an evaluated loss." in text


def test_names_are_escaped(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_manifest({"run_id": "<b>bold</b>", "host": {"a": "<i>"}})
    html = report_page(load_run(tmp_path)).html()
    assert "<b>bold" not in html
    assert "<i>" not in html
    assert "&lt;b&gt;bold" in html


def test_page_and_figures_are_written_beside_the_tables(make_run: MakeRun, html: str) -> None:
    run = make_run()
    path = report_page(run).write(run.folder)
    assert path == run.path / "report.html"
    here, there = (re.escape(str(folder)) for folder in (run.path, run.path.parents[1]))
    command = rf"clso run {here}/config.yaml --out {there}<"
    assert re.search(command, path.read_text())
    commands = r"clso run \S+ --out \S+</pre>"
    assert re.sub(commands, "", path.read_text()) == re.sub(commands, "", html)
    assert yaml.safe_load((run.path / "config.yaml").read_text()) == run.config
    assert sorted(figure.name for figure in run.folder.figures.iterdir()) == [
        "baseline.svg",
        "convergence-gpt.svg",
        "energy.svg",
        "families-gpt.svg",
        "predictions-gpt.svg",
        "results.svg",
    ]

import subprocess
from pathlib import Path

import pytest

from clso.errors import ConfigError
from pipelines.config import load_config, read_config
from pipelines.config.shipped import copy_shipped, shipped_configs

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_shipped_config_loads_and_says_purpose_time_and_command(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for label in ("# Purpose:", "# Time:", "# Command:"):
        assert any(line.startswith(label) for line in header), label


def test_an_empty_file_is_a_run_of_defaults_named_after_the_file(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "")).name == "mine"


def test_overrides_apply_in_order_and_are_spelled_as_yaml(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 3\n")
    config = load_config(
        path,
        ["search.population=8", "search.population=12", "baseline.learning_rates=[1e-3, 0.002]"],
    )
    assert config.seed == 3
    assert config.search.population == 12
    assert config.baseline.learning_rates == (0.001, 0.002)


def test_an_override_reaches_into_a_section_that_the_file_lacks(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, ""), ["data.source=files", "data.files.train=a/*.txt"])
    assert config.data.files is not None
    assert config.data.files.train == ("a/*.txt",)


def test_a_mapping_on_the_command_line_needs_no_spaces(tmp_path: Path) -> None:
    config = load_config(
        write(tmp_path, ""),
        [
            "data.source=files",
            "data.files={train:C:/a.txt,validation: b.txt,test:[c.txt]}",
            "gpt.library={size:3,families:[{family:zero}]}",
        ],
    )
    assert config.data.files is not None
    assert config.data.files.train == ("C:/a.txt",)
    assert config.data.files.validation == ("b.txt",)
    assert config.data.files.test == ("c.txt",)
    assert config.gpt.library.size == 3
    assert [family.family for family in config.gpt.library.families] == ["zero"]


def test_the_documented_files_of_wikitext_are_read_from_a_shell(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
    lines = "\n".join(line for line in page.splitlines() if line.startswith("    W="))
    shell = f"{lines}\nprintf '%s\\n' $W"
    words = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    sets = words.stdout.split("\n")[:-1]
    assert set(sets[::2]) == {"--set"}
    files = load_config(write(tmp_path, ""), sets[1::2]).data.files
    assert files is not None
    assert (files.train, files.validation) == (("train.txt",), ("validation.txt",))
    assert files.test == ("test.txt",)


def test_all_mistakes_are_reported_at_once_with_their_paths(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
seeed: 1
model: {n_embd: 10, n_head: 3}
gpt: {library: {size: 1}}
search: {surrogate: {full_eval_fraction: 0}, generations: many}
""",
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    message = str(caught.value)
    assert "5 mistakes" in message
    assert "seeed: unknown key; did you mean 'seed'?" in message
    assert "model: n_embd 10 is not divisible by n_head 3" in message
    assert "gpt.library.size: input should be greater than or equal to 2 (given 1)" in message
    assert "search.surrogate.full_eval_fraction: input should be greater than 0" in message
    assert "search.generations: input should be a valid integer" in message


def test_an_unknown_key_inside_a_family_is_told_with_that_familys_keys(tmp_path: Path) -> None:
    path = write(tmp_path, "gpt: {library: {families: [{family: quantized_low_rank, rnk: 4}]}}")
    with pytest.raises(ConfigError, match=r"1 mistake(.|\n)*rnk: unknown key; did you mean .rank."):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a: [1", "not valid YAML"),
        ("seed: 1\nseed: 2\n", r":2:1 .*'seed' is given twice"),
        ("tokenizer: {kind:bpe}", r":1:13 .*needs a space after the colon, kind: bpe"),
        ("- 1\n- 2\n", "does not hold named sections"),
        ("seed: 1e3x", "seed: input should be a valid integer"),
        ("data: {source: files}", "data.files is missing"),
        ("data: {source: web}", "data.source: input should be 'package', 'files' or 'hub'"),
        ("data: {fractions: {train: 0.9}}", "sum to 1.1, expected 1"),
        ("search: {population: 4, elites: 4}", "elites 4 must be fewer than population 4"),
        ("search: {surrogate: {random_fraction: 0.05}}", "greater than or equal to 0.1"),
        ("search: {surrogate: {kind: oracle}}", r"gradient_boosting, auto \(CLSO\), or none"),
        ("search: {surrogate: {acquisition: luck}}", "'mean', 'lower_confidence_bound' or"),
        ("search: {surrogate: {min_correlation: 2}}", "min_correlation: input should be less than"),
        ("energy: {meter: replay}", "energy.replay is missing"),
        ("name: 'a/b'", "name: expected letters, digits"),
    ],
)
def test_each_wrong_file_is_told_in_a_sentence(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        load_config(write(tmp_path, text))


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, "")
    with pytest.raises(ConfigError, match=r"did you mean .*mine\.yaml"):
        load_config(tmp_path / "mien.yaml")


def test_a_folder_or_a_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(tmp_path)
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read as text"):
        load_config(binary)


@pytest.mark.parametrize("override", ["seed", "=3", "a..b=1", "seed.x=1", "data={a:1,a:2}"])
def test_a_malformed_override_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        load_config(write(tmp_path, "seed: 1"), [override])


def test_the_digest_ignores_the_runtime_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    plain = load_config(path).digest()
    assert load_config(path, ["runtime.workers=7"]).digest() == plain
    assert load_config(path, ["name=other"]).digest() == plain
    assert load_config(path, ["seed=7"]).digest() != plain
    assert load_config(path, ["gpt.library.gain=2"]).digest() != plain


def test_a_shipped_configuration_is_found_by_name_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    by_name = load_config("smoke", ["seed=3"])
    assert by_name == load_config(CONFIGS[0].with_name("smoke.yaml"), ["seed=3"])
    assert by_name == read_config("smoke", {"seed": 3})
    assert [path.name for path in CONFIGS] == [path.name for path in shipped_configs().values()]


def test_a_file_here_is_meant_only_by_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("smoke", "smoke.yaml", "own"):
        Path(name).write_text("seed: 9")
    assert load_config("smoke").seed == 0
    assert load_config("smoke.yaml").seed == load_config("./smoke").seed == 9
    with pytest.raises(ConfigError, match=r"for the file here write \./own"):
        load_config("own")


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (
            "nightly",
            "no shipped configuration 'nightly'; there are ablate, .*quick, .*smoke, ",
        ),
        ("", "no shipped configuration ''"),
        ("qick", "did you mean the shipped configuration quick"),
        ("quick.yaml", "did you mean the shipped configuration quick"),
        ("configs/quick.yaml", "did you mean the shipped configuration quick"),
        ("no/such.yaml", "name a shipped configuration, or an existing YAML file"),
    ],
)
def test_a_configuration_that_is_not_there_is_told(
    source: str, match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=match):
        load_config(source)


def test_copies_of_the_shipped_configurations_replace_no_file(tmp_path: Path) -> None:
    copies = copy_shipped(tmp_path / "new" / "mine")
    assert [copy.read_bytes() for copy in copies] == [path.read_bytes() for path in CONFIGS]
    copies[0].unlink()
    with pytest.raises(ConfigError, match=r"mine has budgets\.yaml, c4\.yaml, .* already"):
        copy_shipped(tmp_path / "new" / "mine")
    assert not copies[0].exists()

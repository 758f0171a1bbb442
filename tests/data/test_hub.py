import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clso.data import hub
from clso.data.hub import HubCorpus, hub_is_reachable
from clso.errors import DataError, DownloadError


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("HF_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def corpus(cache_dir: Path, name: str = "owner/plain", **changes: Any) -> HubCorpus:  # noqa: ANN401
    values = {"name": name, "config": None, "validation_split": "dev", **changes}
    return HubCorpus(HubCorpus.Settings.model_validate(values), cache_dir)


def documents(corpus: HubCorpus, split: str = "train") -> list[str]:
    found = [""]
    for piece in corpus.read(split):
        found[-1] += piece.text
        if piece.ends_document:
            found.append("")
    assert found.pop() == ""
    return found


class StandIn:
    """Takes the place of `datasets.load_dataset` and gives rows that it was told."""

    def __init__(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        self.rows = rows
        self.asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *args: object, **kwargs: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
        self.asked.append((args, kwargs))
        if kwargs["split"] not in self.rows:
            raise ValueError(f"Bad split: {kwargs['split']}.")
        return iter(self.rows[kwargs["split"]])


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    import datasets

    found = StandIn({"train": [{"text": "one"}, {"text": None}, {"text": "two"}]})
    monkeypatch.setattr(datasets, "load_dataset", found)
    monkeypatch.setattr(hub, "hub_is_reachable", lambda: True)
    return found


def test_rows_are_documents(stand_in: StandIn, tmp_path: Path) -> None:
    assert documents(corpus(tmp_path, config="small", revision="v2")) == ["one", "", "two"]
    args, kwargs = stand_in.asked[0]
    assert args == ("owner/plain", "small")
    assert kwargs == {
        "split": "train",
        "revision": "v2",
        "cache_dir": str(tmp_path),
        "streaming": True,
    }


@pytest.mark.parametrize("name", ["HF_DATASETS_CACHE", "HF_HOME"])
def test_a_cache_that_the_user_chose_is_left_to_the_client(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "/chosen")
    documents(corpus(tmp_path))
    assert stand_in.asked[0][1]["cache_dir"] is None


def test_lines_of_wikitext_are_joined_to_articles(stand_in: StandIn, tmp_path: Path) -> None:
    lines = ["", " = A = \n", "", " One . \n", "", " = B = \n", "", " Two . \n"]
    stand_in.rows["train"] = [{"text": line} for line in lines]
    found = documents(corpus(tmp_path, "Salesforce/wikitext"))
    assert found == ["\n = A = \n\n One . \n\n", " = B = \n\n Two . \n"]


def test_a_limit_ends_with_the_document_that_reaches_it(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.rows["train"] = [{"text": "äöü"}] * 9
    assert len(documents(corpus(tmp_path, max_bytes=13))) == 3
    assert len(documents(corpus(tmp_path, max_bytes=12))) == 2


def test_splits_go_by_the_data_sets_own_names(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.rows["dev"] = [{"text": "held out"}]
    assert documents(corpus(tmp_path), "validation") == ["held out"]


def test_a_missing_split_is_named(stand_in: StandIn, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"owner/plain, split 'dev': .*Bad split: dev"):
        documents(corpus(tmp_path), "validation")


def test_a_missing_column_is_named(stand_in: StandIn, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 1 has no field 'body'\n.*there are: text"):
        documents(corpus(tmp_path, text_field="body"))


def test_a_connection_that_breaks_says_how_far_it_came(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(*_: object, **__: object) -> Iterator[dict[str, str]]:
        yield {"text": "one"}
        raise ConnectionError("reset by peer")

    monkeypatch.setattr("datasets.load_dataset", breaking)
    with pytest.raises(
        DownloadError, match=r"failed after 1 rows: reset by peer\n.*source=package"
    ):
        documents(corpus(tmp_path))


def test_identity_is_what_is_asked_for(tmp_path: Path) -> None:
    plain = corpus(tmp_path).identity()
    assert plain == corpus(tmp_path / "elsewhere").identity()
    for change in ({"config": "x"}, {"revision": "v2"}, {"max_bytes": 1}, {"text_field": "body"}):
        assert corpus(tmp_path, **change).identity() != plain


def test_without_network_and_cache_it_names_alternatives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match=r"cannot be reached .*\n.*source=package.*source=files"):
        documents(corpus(tmp_path, "nobody/such-a-data-set"))


def test_without_network_the_cache_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    source = tmp_path / "train.jsonl"
    source.write_text('{"text": "cached"}\n')
    datasets.disable_progress_bars()
    cache = tmp_path / "cache"
    datasets.load_dataset("json", data_files=str(source), cache_dir=str(cache))
    (built,) = (cache / "json").glob("default-*")
    renamed = cache / "owner___plain" / "default"
    renamed.parent.mkdir()
    built.rename(renamed)
    for arrow in renamed.glob("*/*/json-*.arrow"):
        arrow.rename(arrow.with_name(arrow.name.replace("json-", "plain-")))
    for info in renamed.glob("*/*/dataset_info.json"):
        text = info.read_text().replace('"dataset_name": "json"', '"dataset_name": "plain"')
        info.write_text(text.replace(built.name, "default"))

    monkeypatch.setattr(hub, "hub_is_reachable", lambda: False)
    before = datasets.config.HF_HUB_OFFLINE
    assert documents(corpus(cache)) == ["cached"]
    assert before == datasets.config.HF_HUB_OFFLINE


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_hub_that_accepts_connections_is_reachable(
    listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listening}")
    assert hub_is_reachable()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not hub_is_reachable()


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:{}", "127.0.0.1:{}"])
def test_a_proxy_is_asked_in_the_hubs_place(
    listening: int, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    assert not hub_is_reachable()
    monkeypatch.setenv("https_proxy", proxy.format(listening))
    assert hub_is_reachable()


def test_a_name_that_takes_for_ever_to_look_up_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_up = threading.Event()
    looked_up = threading.Event()

    def slow(*_: object) -> None:
        given_up.wait()
        looked_up.set()
        raise OSError("name not found")

    monkeypatch.setattr(socket, "create_connection", slow)
    assert not hub_is_reachable(timeout_s=0.05)
    assert not looked_up.is_set()
    given_up.set()
    assert looked_up.wait(60)

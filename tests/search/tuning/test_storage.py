"""Where a study is kept: what is refused, what goes on after a loss, and the journal."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from table_problem import TableProblem
from tuning_process import SPACE, settings

from clso.errors import ArtifactError, WorkError
from search.tuning import Tuning, open_tuning
from search.tuning.database import DatabaseStorage, sqlite_url
from search.tuning.place import open_storage
from search.tuning.storage import StudyStorage, retry
from search.tuning.study import check_storage
from search.validated import Halves


def halves(_: object = None) -> Halves:
    return Halves(*(TableProblem([4] * 4, interaction=0.5, seed=seed) for seed in (1, 2)))


def url_in(folder: Path, kind: str) -> str:
    return f"journal:{folder}/study" if kind == "journal" else f"sqlite:///{folder}/study"


SQLITE = pytest.param("sqlite", marks=pytest.mark.slow)  # makes its tables in a second
KINDS = pytest.mark.parametrize("kind", [SQLITE, "journal"])


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "cannot be opened"),
        ("nonsense", "cannot be opened"),
        ("postgres://me:secret@localhost/none", "cannot be opened"),
        ("postgresql://me:secret@localhost:port/none", "cannot be opened"),
        ("postgresql:/me:sec@ret:secret@localhost/none", "cannot be opened"),
        ("me:secret@localhost/none", "cannot be opened"),
        ("postgres://localhost/none?user=me&password=secret", r"password=\*\*\*"),
        ("sqlite:////nowhere/at/all/study.db", "there is no folder /nowhere/at/all"),
        ("mysql+pymysql://me:secret@localhost/none", "needs a driver that is not installed"),
        pytest.param(  # the driver comes with the packages of the slow tests
            "postgresql://me:secret@127.0.0.1:1/none", "cannot be opened", marks=pytest.mark.slow
        ),
        ("journal:", "names no file"),
        ("journal:/", "names no file"),
        ("journal:/nowhere/at/all/study", "there is no folder /nowhere/at/all"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_named_without_its_password(
    url: str, message: str
) -> None:
    def never(_: object) -> Halves:
        raise AssertionError("a problem was made")

    for opened in (
        open_tuning(url, "mine", SPACE, settings(2), never),
        open_storage(url, retries=0),
    ):
        with pytest.raises(ArtifactError, match=message) as caught, opened:
            pass
        assert "secret" not in str(caught.value)
    assert not Path("/nowhere").exists()


@pytest.mark.parametrize("content", ["a text\n", "[]\n", '{"a": 1}\n', '{"op_code": 99}\n', "{"])
def test_a_file_that_is_no_journal_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "notes"
    path.write_text(content)
    with (
        pytest.raises(ArtifactError, match="is not a journal of Optuna, or it is damaged"),
        open_storage(f"journal:{path}", retries=0),
    ):
        pass
    assert path.read_text() == content


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("a text that is longer than the header of a database" * 9)
    with (
        pytest.raises(ArtifactError, match="file is not a database"),
        open_storage(f"sqlite:///{path}", retries=0),
    ):
        pass
    assert path.read_text().startswith("a text")


@pytest.mark.parametrize("name", ["a b%20?c={1}#", pytest.param("a b%20#", marks=pytest.mark.slow)])
def test_a_file_of_any_name_has_a_url(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with open_storage(sqlite_url(tmp_path / name / "study.db"), retries=0):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert {path.name for path in (tmp_path / name).iterdir()} >= {"study.db"}


def foreign(url: str, *, trials: int, direction: str) -> None:
    with open_storage(url, retries=0) as storage:
        study = optuna.create_study(study_name="mine", storage=storage.backend, direction=direction)
        for _ in range(trials):
            study.add_trial(optuna.create_trial(value=1.0))


@pytest.mark.slow  # as above
def test_a_database_that_is_cut_or_changed_is_refused_and_kept(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    with open_tuning(sqlite_url(whole), "mine", SPACE, settings(2), halves) as tuning:
        tuning.run()
    content = whole.read_bytes()
    page = 4096
    cuts = [content[:size] for size in (1, 99, 1000, page, 5 * page, len(content) - 1)]
    trial = content.replace(b'"version"', b'"\xff\xfe\x00sion"')
    dates = content.replace(b"-0", b"@@").replace(b"-1", b"@@")
    assert content not in (trial, dates)
    for number, damaged in enumerate([*cuts, trial, dates]):
        path = tmp_path / str(number)
        path.write_bytes(damaged)
        url = sqlite_url(path)
        for opened in (lambda url=url: opened_once(url), lambda url=url: checked(url)):
            with pytest.raises((ArtifactError, WorkError), match=str(path)):
                opened()
        assert path.read_bytes() == damaged


def opened_once(url: str) -> None:
    with open_tuning(url, "mine", SPACE, settings(2), halves) as tuning:
        tuning.trial_rows()


def checked(url: str) -> None:
    check_storage(url, "mine", SPACE, settings(2))
    opened_once(url)


@KINDS
@pytest.mark.parametrize("fresh", [False, True])
def test_a_study_of_other_software_is_refused_and_never_deleted(
    tmp_path: Path, kind: str, fresh: bool
) -> None:
    url = url_in(tmp_path, kind)
    foreign(url, trials=3, direction="minimize")
    for check in (
        lambda: check_storage(url, "mine", SPACE, settings(2), fresh=fresh),
        lambda: open_tuning(url, "mine", SPACE, settings(2), halves, fresh=fresh).__enter__(),
    ):
        with pytest.raises(ArtifactError, match="with 3 trials that `clso tune` did not make"):
            check()
    with open_storage(url, retries=0) as storage:
        assert len(optuna.load_study(study_name="mine", storage=storage.backend).trials) == 3


@KINDS
def test_an_empty_study_is_taken_if_it_minimises(tmp_path: Path, kind: str) -> None:
    url = url_in(tmp_path, kind)
    foreign(url, trials=0, direction="minimize")
    check_storage(url, "mine", SPACE, settings(2))
    with open_tuning(url, "mine", SPACE, settings(2), halves) as tuning:
        tuning.run()
        assert len(tuning.trial_rows()) == 2
    other = url_in(tmp_path, kind) + "2"
    foreign(other, trials=0, direction="maximize")
    with pytest.raises(ArtifactError, match="is to maximize, expected minimize"):
        check_storage(other, "mine", SPACE, settings(2))


def test_a_study_from_before_there_were_samplers_goes_on(tmp_path: Path) -> None:
    url = url_in(tmp_path, "journal")
    with open_tuning(url, "mine", SPACE, settings(1), halves) as tuning:
        identity = tuning.study.user_attrs["clso"]
        for name in ("sampler", "pruner_patience"):
            del identity[name]
        tuning.study.set_user_attr("clso", identity)
    with open_tuning(url, "mine", SPACE, settings(2), halves) as tuning:
        tuning.run()
        assert len(tuning.trial_rows()) == 2


def test_a_trial_whose_process_died_before_its_first_heartbeat_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StudyStorage, "grace", 1)
    url = url_in(tmp_path, "sqlite")
    with open_tuning(url, "mine", SPACE, settings(2), halves) as tuning:
        monkeypatch.setattr(DatabaseStorage, "beat", lambda *_: None)
        ((trial, _),), _ = tuning._take()
        SPACE.suggest(trial)
    monkeypatch.undo()
    monkeypatch.setattr(StudyStorage, "grace", 1)
    with open_tuning(url, "mine", SPACE, settings(2), halves, heartbeat_s=1) as tuning:
        tuning.run()
        rows = tuning.trial_rows()
    assert [row["state"] for row in rows] == ["fail", "complete", "complete"]
    assert {row["retry_of"] for row in rows} == {None, 0}


def broken_database(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "study", timeout=60)) as connection:
        connection.execute("DROP TABLE trial_params")


def broken_journal(folder: Path) -> None:
    with (folder / "study").open("ab") as file:
        file.write(b"{torn\n")


@pytest.mark.parametrize(
    ("kind", "break_it"),
    [
        pytest.param("sqlite", broken_database, marks=pytest.mark.slow),
        ("journal", broken_journal),
    ],
)
def test_a_storage_that_fails_under_way_ends_the_study_with_a_sentence(
    tmp_path: Path, kind: str, break_it: Callable[[Path], None]
) -> None:
    calls = 0

    def breaking(_: Any) -> Halves:  # noqa: ANN401 - not used
        nonlocal calls
        calls += 1
        if calls == 3:
            break_it(tmp_path)
        return halves()

    url = url_in(tmp_path, kind)
    with (
        pytest.raises(WorkError, match=r"the storage .* failed") as caught,
        open_tuning(url, "mine", SPACE, settings(4), breaking) as tuning,
    ):
        tuning.run()
    assert "the same command continues" in caught.value.remedy


@KINDS
def test_a_study_that_is_deleted_under_way_ends_with_a_sentence(tmp_path: Path, kind: str) -> None:
    url = url_in(tmp_path, kind)
    calls = 0

    def deleting(_: object) -> Halves:
        nonlocal calls
        calls += 1
        if calls == 3:
            with open_storage(url, retries=0) as storage:
                optuna.delete_study(study_name="mine", storage=storage.backend)
        return halves()

    with (
        pytest.raises(WorkError, match="the study 'mine' was deleted from"),
        open_tuning(url, "mine", SPACE, settings(4), deleting) as tuning,
    ):
        tuning.run()


def test_a_trial_that_was_taken_for_dead_is_told_once(tmp_path: Path) -> None:
    url = url_in(tmp_path, "journal")
    judged = 0

    def slow(_: object) -> Halves:
        nonlocal judged
        judged += 1
        if judged == 2:
            fail_and_retry(tuning)
        return halves()

    with open_tuning(url, "mine", SPACE, settings(2), slow) as tuning:
        tuning.run()
        rows = tuning.trial_rows()
    assert [row["state"] for row in rows] == ["fail", "complete", "complete"]


def fail_and_retry(tuning: Tuning) -> None:
    """Do what another process does that misses the heartbeats of a trial."""
    trial = tuning.study.trials[-1]
    retry(tuning.study, trial, 2)
    tuning.study.tell(trial.number, state=TrialState.FAIL)


def test_a_process_that_is_killed_while_it_fails_a_trial_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise SystemExit

    with open_tuning(url_in(tmp_path, "journal"), "mine", SPACE, settings(2), halves) as tuning:
        ((trial, _),), _ = tuning._take()
        SPACE.suggest(trial)
        with monkeypatch.context() as patch:
            patch.setattr(tuning.study, "tell", killed)
            with pytest.raises(SystemExit):
                tuning._tell(trial, TrialState.FAIL, None, retries=2)
        # the process is gone, and its heartbeats stop
        monkeypatch.setattr(tuning._storage, "_is_dead", lambda trial: trial.number == 0)
        tuning.run()
        rows = tuning.trial_rows()
    assert [row["state"] for row in rows] == ["fail", "complete", "complete"]
    assert [row["retry_of"] for row in rows] == [None, 0, None]


def test_interruptions_use_up_no_retries() -> None:
    study = optuna.create_study()
    study.ask({"x": FloatDistribution(0.0, 1.0)})
    for retries in (None, 1, None, None):
        retry(study, study.trials[-1], retries)
        study.tell(study.trials[-2].number, state=TrialState.FAIL)
        study.ask()
    assert len({trial.params["x"] for trial in study.trials}) == 1
    assert study.trials[-1].system_attrs["retry_history"] == [0, 1, 2, 3]
    retry(study, study.trials[-1], 1)
    assert len(study.trials) == 5

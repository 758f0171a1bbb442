"""Whatever the output streams lead to: plain text or one sentence, never a traceback."""

import os
import signal
import subprocess
import sys
import time
import unicodedata
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.progress import Progress

from clso.artifacts import Run
from pipelines import __main__ as entry
from pipelines.console import _columns, _OnTerminal
from pipelines.streams import _plain, prepare_streams

CLSO = f"{sys.executable} -m pipelines"


def shell(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        errors="strict",
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr
    assert "Logging error" not in done.stderr
    return done


FULL = "error: standard output cannot be written: No space left on device\n"
STREAMS = {
    ">&-": (0, ""),
    "2>&-": (0, ""),
    "<&-": (0, ""),
    ">&- 2>&- <&-": (0, ""),
    ">/dev/full": (1, FULL),
    "2>/dev/full": (0, ""),
    ">/dev/full 2>&1": (1, ""),
}
FAST = [">&-", ">/dev/full", ">&- 2>&- <&-"]


@pytest.mark.parametrize(
    "streams",
    [pytest.param(one, marks=() if one in FAST else pytest.mark.slow) for one in STREAMS],
)
def test_a_stream_that_takes_nothing_ends_no_command_in_a_traceback(
    streams: str, tmp_path: Path
) -> None:
    status, error = STREAMS[streams]
    done = shell(f"{CLSO} init {tmp_path}/new {streams}")
    assert (done.returncode, done.stderr) == (status, error)
    assert (tmp_path / "new" / "quick.yaml").exists()


@pytest.mark.slow
@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize("command", ["--help", "ls", "show smoke", "report smoke", "doctor"])
def test_every_command_bears_every_stream(
    command: str, streams: str, smoke: Run, out: Path
) -> None:
    options = "" if command == "--help" else f"--out {out}"
    done = shell(f"{CLSO} {command} {options} {streams}")
    assert (done.returncode, done.stderr) == STREAMS[streams]


@pytest.mark.slow
def test_work_is_done_when_nobody_can_read_of_it(tmp_path: Path, smoke_yaml: str) -> None:
    done = shell(f"{CLSO} library {smoke_yaml} --no-prefect --out {tmp_path} >/dev/full")
    assert (done.returncode, done.stderr) == (1, FULL)
    assert list(tmp_path.glob("libraries/*/stages/*.done.json"))


def test_a_reader_that_has_gone_ends_a_command_quietly() -> None:
    done = shell(f"set -o pipefail; {CLSO} --help | true")
    assert done.stderr == ""


@pytest.mark.parametrize(
    "encoding",
    ["ascii", *(pytest.param(one, marks=pytest.mark.slow) for one in ("latin-1", "utf-8"))],
)
def test_another_encoding_has_plain_characters(encoding: str, smoke: Run, out: Path) -> None:
    variables = {"PYTHONIOENCODING": encoding, "NO_COLOR": "1", "COLUMNS": "40"}
    command = [sys.executable, "-m", "pipelines", "show", "smoke", "--out", str(out)]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, check=True)
    text = done.stdout.decode(encoding)
    assert b"\x1b" not in done.stdout
    assert "crystalline GPT" in text
    assert "?" not in text
    assert done.stderr == b""


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["0", "1", "-5", "abc", "²", "100000", ""])
def test_any_width_is_one(columns: str, smoke: Run, out: Path) -> None:
    done = shell(f"{CLSO} ls --out {out}", COLUMNS=columns)
    assert done.returncode == 0


@given(st.text(min_size=1))
def test_each_character_has_one_that_stands_for_it(text: str) -> None:
    prepare_streams()
    plain, end = _plain(UnicodeEncodeError("ascii", text, 0, len(text), ""))
    assert end == len(plain) == len(text)
    assert plain.isascii()


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120])
def test_a_bar_cuts_no_figure(width: int) -> None:
    console = Console(file=StringIO(), width=width, force_terminal=True, record=True)
    progress = Progress(*_columns(width), console=console)
    progress.add_task("search crystalline mixture", total=10, completed=4, note="best 5.3125")
    console.print(progress.get_renderable())
    text = console.export_text()
    assert "5.3125" in text
    assert "…" not in text


def test_the_end_of_memory_and_an_interruption_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def from_import(cause: BaseException) -> ImportError:
        error = ImportError("numpy cannot be imported")
        error.__cause__ = cause
        return error

    errors: dict[BaseException, tuple[int, str]] = {
        MemoryError(): (1, "memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"): (1, "memory"),
        RuntimeError("std::bad_alloc"): (1, "memory"),
        RuntimeError("can't start new thread"): (1, "memory"),
        RuntimeError("could not create a primitive"): (1, "memory"),
        OSError(12, "Cannot allocate memory"): (1, "memory"),
        ImportError("x.so: failed to map segment from shared object"): (1, "memory"),
        from_import(MemoryError()): (1, "memory"),
        KeyboardInterrupt(): (130, "interrupted"),
        from_import(KeyboardInterrupt()): (130, "interrupted"),
    }
    before = signal.getsignal(signal.SIGINT)
    try:
        for error, (status, said) in errors.items():

            def fail(_: object, raised: BaseException = error) -> int:
                raise raised

            monkeypatch.setattr(entry, "_status", fail)
            with pytest.raises(SystemExit) as ended:
                entry.main(())
            assert ended.value.code == status
            assert said in capsys.readouterr().err
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.15, 0.25, 0.4, 0.6, 0.9])
def test_ctrl_c_in_the_first_second_is_a_sentence(after_s: float, out: Path, smoke: Run) -> None:
    command = [sys.executable, "-m", "pipelines", "compare", "smoke", "x", "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert "Traceback" not in error
    # that of SIGINT itself if an interpreter ends by it, 2 if the command was faster
    assert process.returncode in (130, -signal.SIGINT, 2)


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [40, 60, 100])
def test_too_little_memory_for_the_imports_is_a_sentence(megabytes: int) -> None:
    done = shell(f"ulimit -v {megabytes * 1000}; {CLSO} ls")
    assert done.returncode == 1
    assert "the memory that this process may use is at its end" in done.stderr


@given(st.text(st.characters(categories=["Cc", "Ll"]), max_size=40))
def test_a_terminal_shows_control_characters_and_does_not_obey_them(text: str) -> None:
    printed = {}
    for terminal in (True, False):
        file = StringIO(newline="")
        console = Console(
            file=file, force_terminal=terminal, color_system=None, width=400, markup=False
        )
        console.push_render_hook(_OnTerminal(console))
        console.print(text, highlight=False, soft_wrap=True)
        printed[terminal] = file.getvalue()
    controls = {character for character in printed[True] if unicodedata.category(character) == "Cc"}
    assert controls <= {"\n", "\t"}
    assert [c for c in printed[True] if c.isalpha()] == [c for c in text if c.isalpha()]
    assert "\x1b" not in text or "\x1b" in printed[False]

"""The `clso` command, also as `python -m pipelines`: what holds before anything is imported.

An interruption or the end of memory is told in a sentence at any time, also during imports.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["main"]

# of numpy, when somebody has caught an interruption of its import and imports it again
_TWICE = "cannot load module more than once per process"
# of the system, of torch, of the loader of libraries, of C++, of threads without a stack, of oneDNN
_MEMORY_MARKS = (
    "cannot allocate memory",
    "can't allocate memory",
    "failed to map segment",
    "std::bad_alloc",
    "can't start new thread",
    "could not create a primitive",
    "could not execute a primitive",
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, by default the process's own, and exit with its status."""
    try:
        status = _status(arguments)
    except BaseException as error:
        # one more Ctrl-C ends at once, without the tracebacks of an interpreter that ends
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        status = _told(error)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(status)


def _status(arguments: Sequence[str] | None) -> int:
    from pipelines.streams import prepare_streams, unwritten

    prepare_streams()
    from pipelines.cli import main as command

    status = 0
    try:
        command(arguments)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        # typer ends an interrupted command without a word
        if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):
            raise KeyboardInterrupt from None
    if reason := unwritten():
        sys.stderr.write(f"error: {reason}\n")
        status = status or 1
    return status


def _told(error: BaseException) -> int:
    """Tell an error that no command has told; returns the status.

    Raises:
        BaseException: the error itself, if it is a fault of the program.
    """
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    # what libraries make of both in their imports
    if any(isinstance(one, KeyboardInterrupt) or _TWICE in str(one) for one in chain):
        return _say("interrupted", 130)
    if any(map(_lacks_memory, chain)):
        return _say(
            "error: the memory that this process may use is at its end\n"
            "  free some, or give it more; or make model, library or population smaller",
            1,
        )
    if isinstance(error, BrokenPipeError):  # the reader has gone, as `head` does
        _close_streams()
        return 1
    raise error


def _lacks_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, ImportError | OSError | RuntimeError) and any(
        mark in said for mark in _MEMORY_MARKS
    )


def _say(sentence: str, status: int) -> int:
    if sys.stderr is not None:
        sys.stderr.write(f"{sentence}\n")
    return status


def _close_streams() -> None:
    """Let what is still unwritten lead nowhere, or Python tells of it when it ends."""
    import os

    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)


if __name__ == "__main__":
    main()

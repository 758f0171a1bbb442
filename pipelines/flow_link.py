"""The link of a running flow to Prefect's server, which the work must survive.

A server may refuse, hang or end while a flow runs. What the flow has to tell it goes through its
`FlowLink`: a call that fails costs a line on the flow's page and never the work, and while the
server is away the stages run on plainly. The link also asks for the state of the flow run, so that
a flow that is cancelled in Prefect ends at once: nothing else watches a flow that was started from
a command line.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, Self, TypeVar, cast
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.concurrency.sync import concurrency
from prefect.context import FlowRunContext, TagsContext
from prefect.exceptions import Abort, ObjectNotFound, TerminationSignal
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from clso.errors import first_line
from pipelines.prefect_server import warn

__all__ = ["FlowLink", "FlowRecord", "attend", "recording", "tell"]

P = ParamSpec("P")
R = TypeVar("R")

_ASK_EVERY_S = 2.0
_ANSWER_WITHIN_S = 5.0
# A server that restarts is back before that.
_AWAY_AFTER_S = 20.0
# An interrupted process waits so long at most.
_WAIT_FOR_SLOT_S = 5.0
# An interrupt can be lost, for example in a destructor.
_INTERRUPT_AGAIN_AFTER_S = 15.0

_INTERRUPTS = (KeyboardInterrupt, TerminationSignal)


@dataclass
class FlowRecord:
    """What became of the work of one flow, whatever Prefect says about the flow.

    Attributes:
        begun: whether the work began.
        result: its result, in a list of one, when it is done.
        error: what it failed with.
        interrupted: by whom, such as "cancelled in Prefect"; empty if it was not.
    """

    begun: bool = False
    result: list[Any] | None = None
    error: Exception | None = None
    interrupted: str = ""


recording: ContextVar[FlowRecord | None] = ContextVar("recording", default=None)
"""Where a flow records its work, for a command that needs the result whatever Prefect does."""

_link: ContextVar[FlowLink | None] = ContextVar("link", default=None)


def attend(work: Callable[[FlowLink], R]) -> R:
    """Do the work of the flow that is running, and end when the flow run is cancelled.

    An interrupted flow ends as cancelled, with the reason; so the call of the flow raises
    `prefect.exceptions.CancelledRun`. A flow that a worker or `serve` started is left to these.
    """
    record = recording.get()
    if record is None or record.begun:  # begun: this is a flow inside another one
        record = FlowRecord()
    record.begun = True
    token = None
    try:
        with FlowLink() as link:
            token = _link.set(link)
            result = work(link)
            record.result = [result]
    except _INTERRUPTS as interrupt:
        if link.supervised:
            raise
        record.interrupted = "cancelled in Prefect" if link.cancelled else "interrupted"
        link.leave_if_away()
        # A state as the value of a flow becomes the state of the flow.
        return cast(R, link.end_of(interrupt))
    except Exception as error:
        record.error = error
        link.leave_if_away()
        raise
    finally:
        if token:
            _link.reset(token)
    link.leave_if_away()
    return result


def tell(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
    """Make a call to Prefect, once; `None` if the server is away or the call fails.

    What Prefect's pages lack is said once for each flow. The work goes on.
    """
    link = _link.get()  # none in a thread of its own
    if link is not None and link.away:
        return None
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            return call(*args, **kwargs)
    except Exception as error:
        if link is not None and not link.told_in_vain:
            link.told_in_vain = True
            warn(f"Prefect's pages of this run will lack something: {first_line(error)}")
        return None


class FlowLink:
    """The link of the flow run of this context to the server; open while the work runs."""

    def __init__(self) -> None:
        context = FlowRunContext.get()
        # none where a flow's function is called on its own, as `flow.fn`
        self._flow_run = None if context is None else context.flow_run
        self.supervised = self._flow_run is not None and _is_supervised(self._flow_run)
        self.cancelled = False
        self.told_in_vain = False
        self._interrupted_at = 0.0
        self._heard_at = time.monotonic()
        self._said_away = False
        self._said_waiting = False
        self._closed = threading.Event()
        self._main = threading.current_thread() is threading.main_thread()
        self._lock = threading.Lock()

    @property
    def away(self) -> bool:
        """Whether the server has not answered for some time, or there is none."""
        return self._flow_run is None or time.monotonic() - self._heard_at > _AWAY_AFTER_S

    def __enter__(self) -> Self:
        """Begin to ask the server."""
        if self._flow_run is not None:
            ask = partial(copy_context().run, self._ask, self._flow_run.id)
            threading.Thread(target=ask, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop asking; no interrupt comes afterwards."""
        with self._lock:
            self._closed.set()

    def do(self, name: str, work: Callable[[], R], **options: Any) -> R:  # noqa: ANN401 - Prefect's
        """Do a piece of work as a Prefect task of these options, or plainly without the server."""
        if self.away:
            return work()
        record = FlowRecord()
        interrupts: list[BaseException] = []

        @task(name=name, cache_policy=NO_CACHE, **options)
        def piece() -> State[Any] | None:
            record.begun, record.error = True, None
            try:
                record.result = [work()]
            except _INTERRUPTS as interrupt:
                if self.supervised:
                    raise
                interrupts.append(interrupt)
                return self.end_of(interrupt)
            except Exception as error:
                record.error = error
                raise
            return None

        with self._slot(name):
            try:
                # without tags: a task would wait for the slots of theirs, which are held here
                with TagsContext(current_tags=set()):
                    piece(return_state=True)
            except Exception as error:
                if not record.begun:
                    warn(f"{name} runs without a task of Prefect: {first_line(error)}")
                    return work()
        if interrupts:
            raise interrupts[0]
        if record.error is not None:
            raise record.error
        assert record.result is not None
        return cast(R, record.result[0])

    @contextmanager
    def _slot(self, name: str) -> Iterator[None]:
        """Hold a slot of each limit that the server has for a tag of the flow run.

        Prefect holds them for the tags of a task, but without an end to its waiting: an interrupted
        process would wait on.
        """
        slot = None
        tags = () if self._flow_run is None else self._flow_run.tags
        names = [limit for limit in tell(_limits) or () if limit.removeprefix("tag:") in tags]
        while names and not self.away:
            slot = concurrency(names, timeout_seconds=_WAIT_FOR_SLOT_S)
            try:
                slot.__enter__()
                break
            except TimeoutError:
                if not self._said_waiting:
                    self._said_waiting = True
                    warn(f"{name} waits for a free slot of {', '.join(names)}; Ctrl-C ends it")
                slot = None
            except Exception as error:
                warn(f"{name} runs without a slot of {', '.join(names)}: {first_line(error)}")
                slot = None
                break
        try:
            yield
        finally:
            if slot is not None:
                with suppress(Exception):  # the server may have gone away
                    slot.__exit__(None, None, None)

    def end_of(self, interrupt: BaseException) -> State[Any]:
        """Return the state of an interrupted run."""
        again = "The same command continues where this one stopped."
        if self.cancelled:
            return State(type=StateType.CANCELLED, message=f"Cancelled in Prefect. {again}")
        by = "SIGTERM" if isinstance(interrupt, TerminationSignal) else "Ctrl-C (SIGINT)"
        message = f"The process was ended by {by}. {again}"
        return State(type=StateType.CANCELLED, name="Interrupted", message=message)

    def leave_if_away(self) -> None:
        """Leave a flow of a command whose server is away, since it cannot be told the end.

        Prefect would try for a minute or more.

        Raises:
            Abort: the server is away.
        """
        if self.away and recording.get() is not None:
            raise Abort("the server is away")

    def _ask(self, flow_run_id: UUID) -> None:
        """Ask for the flow run's state until the link is closed."""
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(sync_client=True, httpx_settings={"timeout": _ANSWER_WITHIN_S}) as client,
        ):
            while not self._closed.wait(_ASK_EVERY_S):
                self._ask_once(client, flow_run_id)
                if self.cancelled:
                    self._interrupt()

    def _ask_once(self, client: SyncPrefectClient, flow_run_id: UUID) -> None:
        try:
            state = client.read_flow_run(flow_run_id).state
        except ObjectNotFound:  # deleted in Prefect
            state = None
        except Exception:
            if self.away and not self._said_away:
                self._said_away = True
                warn("Prefect's server does not answer any more; the work goes on without it")
            return
        if self._said_away:
            self._said_away = False
            warn("Prefect's server is back")
        self._heard_at = time.monotonic()
        if state is not None and state.type in (StateType.CANCELLING, StateType.CANCELLED):
            self.cancelled = True

    def _interrupt(self) -> None:
        """Interrupt the work as Ctrl-C does."""
        if self.supervised or not self._main:
            return
        with self._lock:
            late = time.monotonic() - self._interrupted_at > _INTERRUPT_AGAIN_AFTER_S
            if late and not self._closed.is_set():
                self._interrupted_at = time.monotonic()
                main = threading.main_thread().ident
                assert main is not None
                # a shell lets commands in its background ignore Ctrl-C
                ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
                signal.pthread_kill(main, signal.SIGTERM if ignored else signal.SIGINT)


def _is_supervised(flow_run: FlowRun) -> bool:
    """Return whether a worker or `serve` started this process, and ends it on cancellation.

    A command that a flow starts as a process inherits the variable, and is nobody's.
    """
    started = os.environ.get("PREFECT__FLOW_RUN_ID")
    inner = flow_run.parent_task_run_id is not None  # a flow that another one here calls
    return started is not None and (inner or started == str(flow_run.id))


def _limits() -> list[str]:
    """Return the names of the server's limits for tags, each `tag:` and the tag."""
    with get_client(sync_client=True) as client:
        limits = client.read_global_concurrency_limits(limit=200)
    return [limit.name for limit in limits if limit.active and limit.name.startswith("tag:")]

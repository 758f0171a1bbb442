"""What passes a run's curves on to a program that draws them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from clso.errors import ConfigError
from clso.watch.reader import Points

__all__ = ["Tracker", "missing_extra"]


class Tracker(ABC):
    """Receives the settings, curves and files of one run; used as a context, it is closed."""

    @abstractmethod
    def log_settings(self, settings: Mapping[str, str]) -> None:
        """Note the run's configuration by dotted path."""

    @abstractmethod
    def log_points(self, points: Points) -> None:
        """Add values to curves."""

    @abstractmethod
    def log_file(self, path: Path) -> None:
        """Keep a file of the run, where the program keeps files."""

    @abstractmethod
    def flush(self) -> None:
        """Make what was logged visible."""

    @abstractmethod
    def close(self, *, failed: bool = False) -> None:
        """End the run, `failed` if it was interrupted or broke off."""

    def log_generation(self, row: Mapping[str, Any], incumbent: object) -> None:
        """Add a generation of a search; give this method to `Search(callbacks=[...])`.

        Args:
            row: of the table `generations`.
            incumbent: not used; its loss is the row's `best_loss`.
        """
        left_out = {"run_id", "seed", "family", "generation"}
        values = {
            name: float(value)
            for name, value in row.items()
            if name not in left_out
            and isinstance(value, int | float)
            and not isinstance(value, bool)
        }
        self.log_points(Points("", int(row["generation"]), values, {}))
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(failed=error is not None)


def missing_extra(package: str, extra: str) -> ConfigError:
    """Return the error of an optional package that is not installed."""
    return ConfigError(f"{package} is not installed", remedy=f"pip install 'clso[{extra}]'")

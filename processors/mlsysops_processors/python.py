"""Runs a function of the user's own Python on telemetry.

    python/score:
      function: my_package.scores:score     # def score(telemetry: Telemetry) -> None
      view: point                           # opened no deeper than this
      timeout: 500ms

What the function is given and may return: `mlsysops_pipeline.functions`. Modules are found in
`sys.path` and then in the folders of the configuration's files. Importing one runs it with all
rights of the collector, so those files and folders must be writable only by whom you trust.
`validate` does not import it; the start does, and fails if it cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlsysops_pipeline.component import Factory, Kind, Stability
from mlsysops_pipeline.config.schema import Finding
from mlsysops_pipeline.functions.loading import is_name, load
from mlsysops_pipeline.functions.options import CallConfig, options_of
from mlsysops_pipeline.functions.processor import FunctionProcessor
from mlsysops_pipeline.pdata.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlsysops_pipeline.component import Consumer, Settings
    from mlsysops_pipeline.functions.options import Options


class Config(CallConfig):
    """Which function, and how it is called."""

    function: str
    """The function, as ``package.module:callable``."""

    def check(self) -> Iterable[Finding]:
        """The form of the name; whether there is such a function is found out at the start."""
        if not is_name(self.function):
            yield Finding(("function",), "write it as package.module:callable")


def _create(config: Config, settings: Settings, next_: Consumer) -> FunctionProcessor:
    def find() -> tuple[Callable[..., Any], Options]:
        function = load(config.function, settings.folders)
        return function, config.over(options_of(function))

    return FunctionProcessor(find, settings, next_)


FACTORY = Factory(
    kind=Kind.PROCESSOR,
    type="python",
    config=Config,
    create=_create,
    signals=frozenset(Signal),
    stability=Stability.BETA,
)

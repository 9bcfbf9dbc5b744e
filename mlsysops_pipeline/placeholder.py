"""What stands for a component that is known and not built yet: it starts, and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlsysops_pipeline.component import Status

if TYPE_CHECKING:
    from mlsysops_pipeline.component import Settings

DELIVERS_NOTHING: Final = "is a placeholder: it accepts its keys and delivers nothing yet"
"""Said by `components` and at start, behind the name of the type."""


class Placeholder:
    """Implements `Receiver`. It delivers nothing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def start(self) -> None:
        """Say once that nothing will come, in the log and in the state that health reports."""
        settings = self._settings
        message = f"{settings.id.type} {DELIVERS_NOTHING}"
        settings.logger.warning("%s", message)
        settings.host.report_status(Status.OK, message)

    async def shutdown(self) -> None:
        """Nothing to release."""

    def __repr__(self) -> str:
        return f"<Placeholder {self._settings.id}>"

"""The states of components and which moves between them make sense (service, section 9)."""

from __future__ import annotations

from mlsysops_pipeline.component import ComponentID, ComponentStatus, Kind, Status
from mlsysops_pipeline.service.status import StatusBoard
from mlsysops_pipeline.testing import JumpClock

ID = ComponentID("otlp")


def board_after(*moves: Status) -> StatusBoard:
    board = StatusBoard(JumpClock())
    for status in moves:
        board.report(Kind.EXPORTER, ID, status)
    return board


def test_a_component_recovers_from_a_recoverable_error() -> None:
    board = board_after(Status.STARTING, Status.OK, Status.RECOVERABLE_ERROR, Status.OK)

    assert Status.OK is board.status(Kind.EXPORTER, ID)


def test_a_permanent_error_can_only_be_stopped() -> None:
    board = board_after(Status.STARTING, Status.PERMANENT_ERROR, Status.OK)
    assert Status.PERMANENT_ERROR is board.status(Kind.EXPORTER, ID)

    board.report(Kind.EXPORTER, ID, Status.STOPPING)
    assert Status.STOPPING is board.status(Kind.EXPORTER, ID)


def test_stopped_and_fatal_are_final() -> None:
    for end in (Status.STOPPED, Status.FATAL_ERROR):
        moves = [Status.STARTING, Status.OK, Status.STOPPING, end, Status.OK]
        assert end is board_after(*moves).status(Kind.EXPORTER, ID)


def test_a_fatal_error_is_told_at_once() -> None:
    board = StatusBoard(JumpClock())
    told: list[ComponentStatus] = []
    board.on_fatal = told.append
    board.report(Kind.RECEIVER, ID, Status.FATAL_ERROR, "the socket is gone")

    assert ["the socket is gone"] == [state.message for state in told]


def test_the_same_report_twice_keeps_its_first_time() -> None:
    clock = JumpClock()
    board = StatusBoard(clock)
    board.report(Kind.EXPORTER, ID, Status.OK)
    since = board.all()[0].since_ns
    clock._now += 5
    board.report(Kind.EXPORTER, ID, Status.OK)

    assert since == board.all()[0].since_ns


def test_components_of_different_kinds_share_an_id() -> None:
    board = board_after(Status.OK)
    board.report(Kind.RECEIVER, ID, Status.STARTING)
    board.forget(Kind.EXPORTER, ID)

    assert None is board.status(Kind.EXPORTER, ID)
    assert Status.STARTING is board.status(Kind.RECEIVER, ID)

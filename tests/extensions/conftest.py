"""Settings for extensions under test."""

from __future__ import annotations

import pytest

from mlsysops_pipeline.component import Kind, Settings
from mlsysops_pipeline.testing import FakeHost, JumpClock, make_settings


@pytest.fixture
def clock() -> JumpClock:
    return JumpClock()


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def settings(clock: JumpClock, host: FakeHost) -> Settings:
    return make_settings("under/test", kind=Kind.EXTENSION, clock=clock, host=host)

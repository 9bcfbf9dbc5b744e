"""The file exporter: formats, rotation, trouble with the disk (components, E3)."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import struct
from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_exporters.file import FACTORY
from mlsysops_exporters.file.config import Config
from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.config.schema import Severity
from mlsysops_pipeline.errors import (
    Code,
    ConfigError,
    DropReason,
    PermanentError,
    RetryableError,
)
from mlsysops_pipeline.pdata.otlp_json import decode
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import JumpClock, make_payload, make_settings, make_wire
from mlsysops_pipeline.transport.compression import decompress

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def _exporter(path: Path | str, settings: Any = None, **keys: Any) -> Any:
    config = parse_config(Config, {"path": str(path), **keys})
    return FACTORY.create(config, settings or make_settings("file", kind=Kind.EXPORTER), None)


async def _write(path: Path | str, payloads: Iterable[Payload], **keys: Any) -> None:
    exporter = _exporter(path, **keys)
    await exporter.start()
    for payload in payloads:
        await exporter.export(payload)
    await exporter.shutdown()


def _items(data: bytes, signal: Signal = Signal.LOGS) -> list[int]:
    return [Payload(signal, decode(signal, line)).items for line in data.splitlines()]


def _names(directory: Path) -> set[str]:
    return {file.name for file in directory.iterdir()}


def _frames(data: bytes) -> list[bytes]:
    frames = []
    while data:
        (size,) = struct.unpack_from(">I", data)
        frames.append(data[4 : 4 + size])
        data = data[4 + size :]
    return frames


def _log(text: str) -> Payload:
    record = {"body": {"stringValue": text}}
    request = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    return Payload(Signal.LOGS, decode(Signal.LOGS, json.dumps(request).encode()))


# --- formats


@pytest.mark.parametrize("signal", list(Signal))
async def test_each_request_is_a_line_of_json(tmp_path: Path, signal: Signal) -> None:
    """What the Collector's otlp_json_file receiver reads."""
    path = tmp_path / "out.json"
    wires = [make_wire(signal, 3), make_wire(signal, 2, seed=1)]
    await _write(path, [Payload(signal, wires), make_payload(signal, 1)])
    lines = path.read_bytes().split(b"\n")
    assert b"" == lines.pop()
    assert [3, 2, 1] == [Payload(signal, decode(signal, line)).items for line in lines]
    group = {Signal.METRICS: "Metrics", Signal.LOGS: "Logs", Signal.TRACES: "Spans"}[signal]
    assert all(list(json.loads(line)) == [f"resource{group}"] for line in lines)


async def test_newlines_in_data_do_not_break_lines(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    await _write(path, [_log("two\nlines\r\u2028\u0085")])
    assert 1 == path.read_bytes().count(b"\n")
    assert "two\\nlines\\r\u2028\u0085" in path.read_text(encoding="utf-8")


async def test_proto_is_each_request_behind_its_length(tmp_path: Path) -> None:
    path = tmp_path / "out.pb"
    wires = [make_wire(Signal.TRACES, 2), make_wire(Signal.TRACES, 3, seed=1)]
    await _write(path, [Payload(Signal.TRACES, wires)], format="proto")
    assert wires == _frames(path.read_bytes())


@pytest.mark.parametrize("format_", ["json", "proto"])
async def test_compressed_requests_stand_behind_their_length(tmp_path: Path, format_: str) -> None:
    path = tmp_path / "out.zst"
    wires = [make_wire(Signal.METRICS, 20), make_wire(Signal.METRICS, 10, seed=1)]
    payload = Payload(Signal.METRICS, wires)
    keys = {"compression": "zstd", "compression_params": {"level": 6}}
    await _write(path, [payload], format=format_, **keys)
    frames = [decompress("zstd", frame, 1 << 20) for frame in _frames(path.read_bytes())]
    if format_ == "proto":
        assert wires == frames
    else:
        assert [20, 10] == [
            Payload(Signal.METRICS, decode(Signal.METRICS, frame)).items for frame in frames
        ]


# --- beginning and end


async def test_a_file_is_emptied_at_start_unless_it_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("before\n")
    await _write(path, [_log("a")], append=True)
    assert 2 == len(path.read_text().splitlines())
    await _write(path, [_log("b")])
    assert [1] == _items(path.read_bytes())


async def test_missing_directories_are_created_if_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "out.json"
    exporter = _exporter(path)
    with pytest.raises(FileNotFoundError):
        await exporter.start()
    await exporter.shutdown()
    await _write(path, [_log("a")], create_directory=True, directory_permissions="0700")
    assert 0o700 == (tmp_path / "a").stat().st_mode & 0o777
    assert [1] == _items(path.read_bytes())


async def test_data_is_in_the_file_when_export_returns(tmp_path: Path) -> None:
    exporter = _exporter(tmp_path / "out.json")
    await exporter.start()
    await exporter.export(_log("a"))
    assert [1] == _items((tmp_path / "out.json").read_bytes())
    await exporter.shutdown()


async def test_what_waits_at_shutdown_is_written_in_order(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    exporter = _exporter(path)
    await exporter.start()
    exports = (exporter.export(make_payload(Signal.LOGS, count)) for count in range(1, 30))
    await asyncio.gather(*exports, exporter.shutdown())
    assert list(range(1, 30)) == _items(path.read_bytes())


async def test_a_cancelled_export_does_not_disturb_the_next(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    exporter = _exporter(path)
    await exporter.start()
    async with asyncio.timeout(10):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await exporter.export(make_payload(Signal.LOGS, 5))
        await exporter.export(make_payload(Signal.LOGS, 2))
    await exporter.shutdown()
    assert [2] == _items(path.read_bytes())[-1:]


async def test_shutdown_is_safe_twice_and_nothing_is_taken_after_it(tmp_path: Path) -> None:
    exporter = _exporter(tmp_path / "out.json")
    await exporter.shutdown()
    with pytest.raises(RetryableError):
        await exporter.export(_log("early"))
    await exporter.start()
    await exporter.shutdown()
    await exporter.shutdown()
    with pytest.raises(RetryableError):
        await exporter.export(_log("late"))


async def test_a_pipe_can_be_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    await _write(path, [_log("a")])
    assert [1] == _items(os.read(reader, 1 << 16))
    os.close(reader)


# --- rotation


_ROTATED_AT_NS = 1_663_132_934_173_000_000  # 2022-09-14T05:22:14.173Z


def _at(unix_ns: int) -> Any:
    return make_settings("file", kind=Kind.EXPORTER, clock=JumpClock(unix_ns=unix_ns))


def _small(**keys: int | bool) -> dict[str, Any]:
    return {"rotation": {"max_megabytes": 1, **keys}}


async def test_a_large_file_is_put_aside_under_its_time_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    path = tmp_path / "data.json"
    exporter = _exporter(path, _at(_ROTATED_AT_NS), **_small())
    await exporter.start()
    texts = [f"{number} " + "x" * 400_000 for number in range(7)]
    for text in texts:
        await exporter.export(_log(text))
    await exporter.shutdown()
    names = [f"data-2022-09-14T05-22-14.{stamp}.json" for stamp in (173, 174, 175)]
    assert {*names, "data.json"} == _names(tmp_path)
    lines = [
        line
        for name in (*names, "data.json")
        for line in (tmp_path / name).read_text().splitlines()
    ]
    assert texts == [
        json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["body"]["stringValue"]
        for line in lines
    ]
    assert all((tmp_path / name).stat().st_size <= 1 << 20 for name in _names(tmp_path))


async def test_a_request_larger_than_a_file_gets_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    await _write(path, [_log("small"), _log("x" * 2_000_000), _log("small")], **_small())
    assert 3 == len(_names(tmp_path))
    assert [1] == _items(path.read_bytes())


async def test_rotation_continues_the_file_of_an_earlier_run(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    for _ in range(2):
        await _write(path, [_log("a")], **_small())
    assert [1, 1] == _items(path.read_bytes())


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        ({"max_backups": 5, "max_days": 2}, ["data-2022-09-13T05-02-14.000.json"]),
        (
            {"max_backups": 4},
            ["data-2022-09-13T05-02-14.000.json", "data-2022-09-12T05-02-14.001-size.json"],
        ),
    ],
)
async def test_old_files_are_deleted_by_number_and_by_age_and_others_are_not(
    tmp_path: Path, keys: dict[str, int], kept: list[str]
) -> None:
    path = tmp_path / "data.json"
    others = ["data-notes.json", "data-2022-09-14T05-02-14.173.txt", "more-data.json"]
    old = [f"data-2022-09-{day:02d}T05-02-14.000.json" for day in range(1, 14)]
    old.append("data-2022-09-12T05-02-14.001-size.json")  # as newer Collectors name them
    for name in (*others, *old):
        (tmp_path / name).write_text("")
    exporter = _exporter(path, _at(_ROTATED_AT_NS), **_small(**keys))
    await exporter.start()
    for _ in range(3):
        await exporter.export(_log("x" * 600_000))
    await exporter.shutdown()
    new = [f"data-2022-09-14T05-22-14.{stamp}.json" for stamp in (173, 174)]
    assert {*new, *kept, *others, "data.json"} == _names(tmp_path)


async def test_all_files_put_aside_are_kept_when_no_number_is_set(tmp_path: Path) -> None:
    keys = _small(max_backups=0, localtime=True)
    await _write(tmp_path / "data", [_log("x" * 600_000) for _ in range(6)], **keys)
    assert 6 == len(_names(tmp_path))


# --- trouble


async def test_a_full_disk_is_a_passing_trouble() -> None:
    exporter = _exporter("/dev/full")
    await exporter.start()
    with pytest.raises(RetryableError, match="cannot write /dev/full: No space left on device"):
        await exporter.export(_log("a"))
    await exporter.shutdown()


async def test_half_a_request_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.json"
    exporter = _exporter(path)
    await exporter.start()
    await exporter.export(_log("first"))
    real, room = os.write, [10]

    def write(fd: int, data: memoryview) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(fd, data[: room[0]])
        room[0] -= written
        return written

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(RetryableError):
            await exporter.export(_log("second"))
    await exporter.export(_log("third"))
    await exporter.shutdown()
    text = path.read_text()
    assert [1, 1] == _items(text.encode())
    assert "second" not in text


async def test_a_new_file_that_cannot_be_made_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.json"
    exporter = _exporter(path, **_small())
    await exporter.start()
    big = _log("x" * 600_000)
    await exporter.export(big)
    real = os.open

    def refuse(path: Any, *rest: Any) -> int:
        if str(path).endswith("data.json"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        for _ in range(2):
            with pytest.raises(RetryableError, match="Too many open files"):
                await exporter.export(big)
    await exporter.export(big)
    await exporter.shutdown()
    assert 2 == sum(len(_items((tmp_path / name).read_bytes())) for name in _names(tmp_path))


async def test_what_cannot_pass_is_permanent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = _exporter(tmp_path / "out.json")
    await exporter.start()

    def refuse(*_: Any) -> int:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        with pytest.raises(PermanentError) as raised:
            await exporter.export(_log("a"))
    assert DropReason.EXPORT_ERROR == raised.value.reason
    await exporter.shutdown()


async def test_a_malformed_member_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    """Nothing is written, so the rest can be sent again without being written twice."""
    path = tmp_path / "out.json"
    exporter = _exporter(path)
    await exporter.start()
    with pytest.raises(PermanentError) as raised:
        await exporter.export(Payload(Signal.LOGS, [make_wire(Signal.LOGS, 1), b"\x0a\xff"]))
    assert (Code.INVALID_ARGUMENT, DropReason.MALFORMED) == (raised.value.code, raised.value.reason)
    await exporter.shutdown()
    assert b"" == path.read_bytes()


# --- keys


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "path must be non-empty"),
        ({"path": "a", "append": True, "rotation": {}}, "append and rotation enabled"),
        ({"path": "a", "format": "xml"}, "format"),
        ({"path": "a", "compression": "gzip"}, "compression"),
        ({"path": "a", "compression_params": {"level": 99}}, "must be from 0 to 22"),
        ({"path": "a", "encoding": "otlp"}, "is not supported"),
        ({"path": "a", "rotation": {"max_days": -1}}, "must not be negative"),
        ({"path": "a", "directory_permissions": "0755"}, "requires create_directory to be true"),
        (
            {"path": "a", "create_directory": True, "directory_permissions": "rwx"},
            "must be a valid octal representation",
        ),
        (
            {"path": "a", "create_directory": True, "directory_permissions": "7777"},
            "contain invalid bits for file access",
        ),
        ({"path": "a", "group_by": {"enabled": True}}, r"path must contain exactly one \*"),
        ({"path": "*a", "group_by": {"enabled": True}}, r"path must not start with \*"),
        (
            {"path": "a*", "group_by": {"enabled": True, "resource_attribute": ""}},
            "resource_attribute must not be empty",
        ),
        ({"path": "a*", "group_by": {"enabled": True, "max_open_files": 0}}, "must be positive"),
        ({"path": "a", "sending_queue": {}}, "sending_queue"),
    ],
)
def test_keys_that_cannot_be_meant_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(Config, keys)


def test_the_keys_of_the_collector_are_taken() -> None:
    keys = {
        "path": "./out.json",
        "rotation": {"max_megabytes": 10, "max_days": 3, "max_backups": 3, "localtime": True},
        "format": "proto",
        "compression": "zstd",
        "flush_interval": "5s",
        "create_directory": True,
        "directory_permissions": "0750",
        "group_by": {"enabled": False},
    }
    config = parse_config(Config, keys)
    assert (10 << 20, 0o750, 5.0) == (
        config.rotation and config.rotation.bytes_max,
        config.directory_mode,
        config.flush_interval,
    )


def test_a_flush_interval_is_warned_about_because_nothing_is_held_back() -> None:
    from mlsysops_pipeline.config.decode import decode as decode_config
    from mlsysops_pipeline.config.nodes import from_plain

    _, problems = decode_config(Config, from_plain({"path": "a", "flush_interval": "5s"}))
    assert [Severity.WARNING] == [problem.severity for problem in problems]
    assert "has no effect here" in str(problems[0])

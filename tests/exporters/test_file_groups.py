"""The file exporter with a file for each value of a resource attribute (components, E3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from mlsysops_exporters.file import FACTORY
from mlsysops_exporters.file.config import Config
from mlsysops_exporters.file.groups import by_attribute, path_of
from mlsysops_pipeline.component import Kind
from mlsysops_pipeline.config.decode import parse_config
from mlsysops_pipeline.errors import RetryableError
from mlsysops_pipeline.pdata.otlp_json import decode
from mlsysops_pipeline.pdata.payload import Payload
from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import make_settings


def _exporter(directory: Path, **keys: Any) -> Any:
    group_by = {"enabled": True, "resource_attribute": "tenant", **keys.pop("group_by", {})}
    config = parse_config(Config, {"path": f"{directory}/by-*.json", "group_by": group_by, **keys})
    return FACTORY.create(config, make_settings("file", kind=Kind.EXPORTER), None)


def _payload(*tenants: str | int | None) -> Payload:
    """A log record for each tenant, in a resource of its own, with the tenant as its body."""
    groups = []
    for tenant in tenants:
        value = {"stringValue": tenant} if isinstance(tenant, str) else {"intValue": tenant}
        attributes = [] if tenant is None else [{"key": "tenant", "value": value}]
        record = {"body": value} if tenant is not None else {}
        group = {"resource": {"attributes": attributes}, "scopeLogs": [{"logRecords": [record]}]}
        groups.append(group)
    text = json.dumps({"resourceLogs": groups}).encode()
    return Payload(Signal.LOGS, decode(Signal.LOGS, text))


def _bodies(path: Path) -> list[str]:
    return [
        group["scopeLogs"][0]["logRecords"][0]["body"]["stringValue"]
        for line in path.read_text().splitlines()
        for group in json.loads(line)["resourceLogs"]
    ]


def _files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


async def test_each_value_has_a_file(tmp_path: Path) -> None:
    exporter = _exporter(tmp_path)
    await exporter.start()
    assert await exporter.export(_payload("a", "b", "a")) is None
    await exporter.export(_payload("b"))
    await exporter.shutdown()
    assert {"by-a.json", "by-b.json"} == _files(tmp_path)
    assert ["a", "a"] == _bodies(tmp_path / "by-a.json")
    assert ["b", "b"] == _bodies(tmp_path / "by-b.json")


async def test_resources_without_a_file_are_rejected_by_number(tmp_path: Path) -> None:
    exporter = _exporter(tmp_path)
    await exporter.start()
    result = await exporter.export(_payload(None, "a", 7, "nul\0byte"))
    assert result is not None
    assert (3, "resources without the attribute tenant have no file") == (
        result.rejected_items,
        result.message,
    )
    await exporter.shutdown()
    assert ["a"] == _bodies(tmp_path / "by-a.json")


async def test_a_value_that_can_be_no_name_is_rejected_and_the_others_are_written(
    tmp_path: Path,
) -> None:
    exporter = _exporter(tmp_path)
    await exporter.start()
    result = await exporter.export(_payload("x" * 300, "a"))
    assert result is not None
    assert 1 == result.rejected_items
    assert "File name too long" in result.message
    await exporter.shutdown()
    assert {"by-a.json"} == _files(tmp_path)


async def test_files_are_closed_and_continued_when_too_many_are_open(tmp_path: Path) -> None:
    """The Collector empties a file that it opens again; we do not."""
    exporter = _exporter(tmp_path, group_by={"max_open_files": 2})
    await exporter.start()
    for _ in range(3):
        await exporter.export(_payload(*"abcd"))
    assert len(exporter._files) <= 2
    await exporter.shutdown()
    for name in "abcd":
        assert [name] * 3 == _bodies(tmp_path / f"by-{name}.json")


async def test_files_of_an_earlier_run_are_emptied_unless_appended_to(tmp_path: Path) -> None:
    for keys, expected in (({}, 1), ({}, 1), ({"append": True}, 2)):
        exporter = _exporter(tmp_path, **keys)
        await exporter.start()
        await exporter.export(_payload("a"))
        await exporter.shutdown()
        assert expected == len(_bodies(tmp_path / "by-a.json"))


async def test_values_may_hold_directories_which_are_created(tmp_path: Path) -> None:
    exporter = _exporter(tmp_path)
    await exporter.start()
    await exporter.export(_payload("x/y/z"))
    await exporter.shutdown()
    assert {"by-x/y/z.json"} == _files(tmp_path)


async def test_trouble_that_may_pass_goes_back_to_the_sender(tmp_path: Path) -> None:
    config = parse_config(Config, {"path": "/dev/fu*", "group_by": {"enabled": True}})
    exporter = FACTORY.create(config, make_settings("file", kind=Kind.EXPORTER), None)
    await exporter.start()
    text = json.dumps(
        {
            "resourceLogs": [
                {
                    "resource": {
                        "attributes": [
                            {"key": "fileexporter.path_segment", "value": {"stringValue": "ll"}}
                        ]
                    },
                    "scopeLogs": [{"logRecords": [{}]}],
                }
            ]
        }
    ).encode()
    with pytest.raises(RetryableError):
        await exporter.export(Payload(Signal.LOGS, decode(Signal.LOGS, text)))
    await exporter.shutdown()


@pytest.mark.parametrize(
    ("pattern", "segment", "path"),
    [
        ("/data/*.json", "a", "/data/a.json"),
        ("/data/*.json", "a/b", "/data/a/b.json"),
        ("/data/*.json", "./a", "/data/a.json"),
        ("/data/*.json", "../a", "/data/a.json"),
        ("/data/*.json", "../../etc/passwd", "/data/etc/passwd.json"),
        ("/data/*.json", "x/../../../etc/passwd", "/data/etc/passwd.json"),
        ("/data/*.json", "/etc/passwd", "/data/etc/passwd.json"),
        ("/data/by-*", "a", "/data/by-a"),
        ("./*.json", "a", "a.json"),
        ("data/*", "..", "data"),
        ("/*", "a", "/a"),
    ],
)
def test_a_value_cannot_lead_out_of_the_directory(pattern: str, segment: str, path: str) -> None:
    assert path == path_of(pattern, segment)


@given(st.text(alphabet="ab./\\~", max_size=12))
def test_no_value_leads_out_of_the_directory(segment: str) -> None:
    path = Path(path_of("/data/out/*.json", segment))
    assert Path("/data/out") in (path, *path.parents)
    assert ".." not in path.parts


def test_a_division_keeps_fields_that_otlp_does_not_have_yet() -> None:
    unknown = b"\xfa\x3e\x02hi"
    groups = []
    for name in ("a", "b"):
        (group,) = ExportLogsServiceRequest.FromString(_payload(name).joined()).resource_logs
        data = group.SerializeToString() + unknown
        groups.append(b"\x0a" + bytes([len(data)]) + data)
    parts = by_attribute(Signal.LOGS, b"".join(groups), "tenant")
    assert ["a", "b"] == list(parts)
    assert all(unknown in part for part in parts.values())
    assert {"a": groups[0]} == by_attribute(Signal.LOGS, groups[0], "tenant")

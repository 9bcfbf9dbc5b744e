"""What the machine and the environment say: every form their files have (components, C15)."""

from __future__ import annotations

import ipaddress
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import JumpClock, advance_until, make_payload, make_settings
from mlsysops_processors.resource_detection import (
    environment,
    interfaces,
    machine,
    names,
    processor,
    releases,
)
from mlsysops_processors.resource_detection.config import SystemConfig
from mlsysops_processors.resource_detection.detection import DetectionError
from tests.processors.resource_detection.peers import attributes, make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# The environment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b", {"a": "b"}),
        (" a = b , c= d e ,", {"a": "b", "c": "d e"}),
        ("a=b%2Cc%3D%C3%BC+d", {"a": "b,c=ü d"}),
        ("a=", {"a": ""}),
        ("a=b=c", {"a": "b=c"}),
        ("a=1,a=2", {"a": "2"}),
        ("a=%FF", {"a": "\ufffd"}),
    ],
)
def test_pairs_of_the_environment(text: str, expected: dict[str, str]) -> None:
    assert expected == environment.read_pairs(text)


@pytest.mark.parametrize(
    "text", ["a", "=b", "a=b,c", "a=b,,c=d", "a=%", "a=%zz", "ü=1", ",", f"a={'x' * 257}"]
)
def test_what_is_no_pair_is_an_error(text: str) -> None:
    with pytest.raises(DetectionError, match="invalid resource format") as caught:
        environment.read_pairs(text)
    assert caught.value.is_fatal


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = environment.read_pairs(text)
    except DetectionError:
        return
    assert found


async def test_the_older_variable_counts_where_the_newer_is_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    detector = environment.EnvironmentDetector()
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", " ")
    monkeypatch.setenv("OTEL_RESOURCE", "a=old")
    assert {"a": "old"} == await detector.detect()
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "a=new")
    assert {"a": "new"} == await detector.detect()
    assert {} == detector.known()


# The name of the host


async def host_name(monkeypatch: pytest.MonkeyPatch, *sources: str, **found: Any) -> str:
    def answering(value: Any) -> Callable[[], str]:
        def answer() -> str:
            if isinstance(value, Exception):
                raise value
            return str(value)

        return answer

    for source, value in found.items():
        monkeypatch.setitem(names.SOURCES, source, answering(value))
    detection = make({"detectors": ["system"], "system": {"hostname_sources": list(sources)}})
    await detection.start()
    result = attributes(detection.process(make_payload(Signal.LOGS, 1)))
    await detection.shutdown()
    assert sys.platform == result["os.type"]
    return str(result["host.name"])


async def test_sources_of_the_name_are_asked_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "long.name" == await host_name(monkeypatch, dns="long.name", os="short")
    assert "short" == await host_name(monkeypatch, "os", "dns", dns="long.name", os="short")
    assert "short" == await host_name(monkeypatch, dns=OSError("no"), os="short")
    assert "c" == await host_name(monkeypatch, "lookup", "cname", lookup=OSError("no"), cname="c")


async def test_a_machine_without_a_name_fails_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> str:
        raise OSError("no such name")

    monkeypatch.setitem(names.SOURCES, "dns", fails)
    clock = JumpClock()
    detection = make(
        {"detectors": ["system"], "system": {"hostname_sources": ["dns"]}}, clock=clock
    )
    starting = make_settings(clock=clock).tasks.spawn("start", detection.start())
    await advance_until(clock, starting.done)
    with pytest.raises(DetectionError, match=r"all hostname sources failed.*dns: no such name"):
        await starting
    await detection.shutdown()


async def test_a_name_server_that_hangs_does_not_use_up_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released = threading.Event()
    monkeypatch.setitem(names.SOURCES, "dns", lambda: released.wait(15) and "late")
    monkeypatch.setitem(names.SOURCES, "os", lambda: "short")
    clock = JumpClock()
    detection = make({"detectors": ["system"]}, clock=clock)
    starting = make_settings(clock=clock).tasks.spawn("start", detection.start())
    await advance_until(clock, starting.done, step_s=0.1)
    await starting
    assert clock.monotonic() < 1_000.0 + 5.0
    result = attributes(detection.process(make_payload(Signal.LOGS, 1)))
    assert "short" == result["host.name"]
    released.set()
    await detection.shutdown()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("127.0.0.1 vm.example.org vm", "vm.example.org"),
        ("127.0.0.1\tvm  # me", "vm"),
        ("127.0.0.1 other # vm", ""),
        ("# 127.0.0.1 vm", ""),
        ("vm", ""),
        ("", ""),
        ("127.0.0.1 bad_name vm", ""),
        (f"127.0.0.1 {'x' * 300} vm", ""),
    ],
)
def test_lines_of_a_hosts_file(line: str, expected: str) -> None:
    assert expected == names.in_hosts_line("vm", line)


def test_the_hosts_file_is_asked_first_then_name_service(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n10.0.0.1 vm.example.org vm\n")
    monkeypatch.setattr(names, "HOSTS", hosts)
    monkeypatch.setattr("socket.gethostname", lambda: "vm")
    assert "vm.example.org" == names.fully_qualified()
    hosts.unlink()

    def answers(host: str, _port: None, **flags: Any) -> list[Any]:
        if "flags" in flags and canonical_name is None:
            raise OSError("no")
        return [(0, 0, 0, "", ("10.0.0.1", 0)), (0, 0, 0, canonical_name or "", ("10.0.0.2", 0))]

    canonical_name: str | None = "vm.dns."
    monkeypatch.setattr("socket.getaddrinfo", answers)
    assert "vm.dns" == names.fully_qualified() == names.SOURCES["cname"]()
    canonical_name = None

    def name_of(address: tuple[str, int], _flags: int) -> tuple[str, str]:
        if address[0] == "10.0.0.1":
            raise OSError("no name")
        return "vm.reverse.", "0"

    monkeypatch.setattr("socket.getnameinfo", name_of)
    assert "vm.reverse" == names.fully_qualified() == names.SOURCES["lookup"]()
    monkeypatch.setattr("socket.gethostname", lambda: "")
    with pytest.raises(OSError, match="no host name"):
        names.SOURCES["os"]()


# Facts


async def test_everything_that_can_be_asked_of_this_machine_is_found_or_said() -> None:
    wanted = frozenset(SystemConfig.usual) - {"host.name"}
    found, missing = machine.facts(wanted)
    assert wanted == set(found) | {line.partition(":")[0].removeprefix("no ") for line in missing}
    for address in found.get("host.ip", ()):
        assert not ipaddress.ip_address(address).is_loopback
    assert {"os.type", "host.arch", "os.description", "host.interface"} <= set(found)


def test_what_cannot_be_read_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "MACHINE_IDS", (tmp_path / "a", tmp_path / "b"))
    monkeypatch.setattr(processor, "PATH", tmp_path / "cpuinfo")
    found, missing = machine.facts(frozenset({"host.id", "host.cpu.family", "host.arch"}))
    assert {"host.arch"} == set(found)
    assert ["no host.cpu.family", "no host.id"] == [line.partition(":")[0] for line in missing]
    (tmp_path / "b").write_text("abc\n")
    assert ({"host.id": "abc"}, []) == machine.facts(frozenset({"host.id"}))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("x86_64", "amd64"),
        ("aarch64", "arm64"),
        ("armv7l", "arm32"),
        ("i686", "x86"),
        ("ppc64le", "ppc64"),
        ("riscv64", "riscv64"),
        ("s390x", "s390x"),
    ],
)
def test_architectures_have_the_names_of_the_conventions(said: str, expected: str) -> None:
    assert expected == machine.architecture(said)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"debian_version": "12.11\n", "os-release": "ID=debian\n"}, ("debian", "12.11")),
        (
            {
                "debian_version": "bookworm/sid\n",
                "lsb-release": 'DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE="24.04"\n',
            },
            ("ubuntu", "24.04"),
        ),
        ({"alpine-release": "3.20.1\n"}, ("alpine", "3.20.1")),
        (
            {"redhat-release": "Red Hat Enterprise Linux release 9.4 (Plow)\n"},
            ("redhat", "9.4"),
        ),
        ({"redhat-release": "Rocky Linux release 9.3 (Blue Onyx)\n"}, ("rocky", "9.3")),
        ({"redhat-release": "Fedora release 41 (Rawhide)\n"}, ("fedora", "rawhide")),
        ({"oracle-release": "Oracle Linux Server\n"}, ("oracle", "")),
        ({"os-release": 'ID="amzn"\nVERSION_ID="2023"\n'}, ("amazon", "2023")),
        ({"lsb-release": "DISTRIB_ID=Arch\n"}, ("arch", "")),
        ({}, ("", "")),
    ],
)
def test_distributions_are_known_by_their_files(
    files: dict[str, str],
    expected: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(releases, "ETC", tmp_path)
    monkeypatch.setattr(releases, "OS_RELEASES", (tmp_path / "os-release",))
    assert expected == releases.platform_and_version()
    found, missing = machine.facts(frozenset({"os.name", "os.version", "os.build.id"}))
    assert expected == (found.get("os.name", ""), found.get("os.version", ""))
    assert 3 == len(found) + len(missing)


def test_entries_are_read_as_a_shell_reads_them() -> None:
    text = '# a comment\nA=1\n B = "two \\"words\\" " \nC=\'x\'\n=no\nnothing\nD="\n'
    expected = {"A": "1", "B": 'two "words" ', "C": "x", "D": '"'}
    assert expected == releases.entries(text)


X86 = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: Xeon
stepping\t: 7
cache size\t: 1024 KB

processor\t: 1
vendor_id\t: Other
"""
ARM = """processor\t: 0
CPU implementer\t: 0x41
CPU part\t: 0xd0c
CPU revision\t: 1
"""


def test_the_first_processor_is_described() -> None:
    keys = ("vendor.id", "family", "model.id", "model.name", "stepping", "cache.l2.size")

    def values(text: str) -> list[Any]:
        found = processor.described(text)
        return [found[f"host.cpu.{key}"] for key in keys]

    assert ["GenuineIntel", "6", "85", "Xeon", "7", 1024] == values(X86)
    assert ["ARM", "", "0xd0c", "", "1", 0] == values(ARM)
    assert ["", "", "", "", "0", 0] == values("nonsense\ncache size : much\n")


def message(kind: int, body: bytes = b"") -> bytes:
    padding = b"\0" * (-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body + padding


def address(number: int, *pairs: tuple[int, str]) -> bytes:
    body = struct.pack("=BBBBI", 2, 24, 0, 0, number)
    for kind, text in pairs:
        packed = ipaddress.ip_address(text).packed
        body += struct.pack("=HH", 4 + len(packed), kind) + packed
    return message(20, body)


def test_addresses_are_read_from_what_the_kernel_says() -> None:
    pieces = [
        address(1, (1, "127.0.0.1")) + address(2, (1, "10.0.0.9"), (2, "10.0.0.1")),
        address(2, (1, "fe80::1")) + address(3) + message(3) + message(2),
    ]
    found = [(number, str(one)) for number, one in interfaces.parsed_addresses(iter(pieces))]
    assert [(1, "127.0.0.1"), (2, "10.0.0.1"), (2, "fe80::1")] == found
    with pytest.raises(OSError, match="refuses"):
        list(interfaces.parsed_addresses(iter([message(2)])))


@pytest.mark.slow
def test_a_detector_that_asks_nobody_loads_no_client() -> None:
    code = (
        "import sys\n"
        "from mlsysops_pipeline.testing import make_settings\n"
        "from mlsysops_processors.resource_detection import FACTORY, Config\n"
        "config = Config(detectors=('env', 'system'))\n"
        "FACTORY.create(config, make_settings('resource_detection'), None)\n"
        "sys.exit('aiohttp' in sys.modules)\n"
    )
    assert 0 == subprocess.run([sys.executable, "-c", code], timeout=15, check=False).returncode

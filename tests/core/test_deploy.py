"""The image and the example manifests: what they start is a command line that we take."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlsysops_pipeline.modes import configuration_folder
from tests.framework_files import Rendered

ROOT = Path(__file__).parents[2]
DEPLOY = configuration_folder() / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
MANIFESTS = {
    path.stem: list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
}
PROGRAM = "/usr/local/bin/mlsysops-collector"


def instructions(stage: str) -> list[tuple[str, str]]:
    """The instructions of the stage that begins with this line."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", DOCKERFILE))
    lines = text.partition(f"FROM {stage}\n")[2].partition("FROM ")[0].splitlines()
    pairs = [line.partition(" ") for line in lines if line]
    assert pairs
    return [(name, value) for name, _, value in pairs]


def last(name: str) -> str:
    """What an instruction of the last stage says."""
    (found,) = [value for key, value in instructions("scratch") if key == name]
    return found


def exit_of(*arguments: str, **environment: str) -> tuple[int, str]:
    """The status and output of the collector, with these arguments and nothing else around it."""
    done = subprocess.run(
        [sys.executable, "-m", "mlsysops_pipeline.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=15,
    )
    return done.returncode, done.stdout + done.stderr


def only(name: str, kind: str) -> Any:
    (found,) = [document for document in MANIFESTS[name] if document["kind"] == kind]
    return found


def pod(name: str) -> Any:
    (workload,) = [one for one in MANIFESTS[name] if "template" in one.get("spec", {})]
    return workload["spec"]["template"]["spec"]


# The image.


def test_the_image_is_an_empty_one_with_a_user_and_the_program() -> None:
    assert PROGRAM == json.loads(last("ENTRYPOINT"))[0]
    assert "10001:10001" == last("USER")
    assert {"COPY", "ENV", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"} == {
        name for name, _ in instructions("scratch")
    }


def test_its_base_is_a_plain_name_without_a_host() -> None:
    names = re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)

    assert ["python:3.13-slim", "python:3.13-slim", "scratch"] == names
    assert "http" not in DOCKERFILE


def test_the_wheel_is_made_of_folders_that_exist() -> None:
    stage = instructions("python:3.13-slim AS wheel")
    copied = [name for key, value in stage if key == "COPY" for name in value.split()[:-1]]

    top = {"mlsysops_pipeline", "receivers", "processors", "exporters", "configs"}
    assert top | {"pyproject.toml", "README.md", "LICENSE"} == set(copied)


@pytest.mark.skipif(not (ROOT / "Makefile").is_file(), reason="only a checkout is built from")
def test_a_build_is_sent_what_it_copies_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    stage = instructions("python:3.13-slim AS wheel")
    copied = {name for key, value in stage if key == "COPY" for name in value.split()[:-1]}

    assert "*" in lines
    assert copied == sent
    assert "**/__pycache__" in lines


def test_what_it_exposes_are_the_ports_of_the_collector_and_of_the_framework() -> None:
    assert {"4317", "4318", "8888", "9999", "13133", "43170", "43180"} == set(
        last("EXPOSE").split()
    )


@pytest.mark.slow
def test_without_arguments_it_is_an_agent() -> None:
    assert (0, "OK: 4 pipelines\n") == exit_of("validate", *json.loads(last("CMD")))


@pytest.mark.slow
def test_the_frameworks_arguments_and_environment_are_taken(tmp_path: Path) -> None:
    """What its Pod says: one argument with `=`, and two variables."""
    file = tmp_path / "otel-collector-config.yaml"
    hop = "cluster-otel-collector.mlsysops-framework.svc.cluster.local:43170"
    file.write_text(Rendered("node", next_hop=hop).text(), encoding="utf-8")

    status, output = exit_of(
        "validate", f"--config={file}", NODE_HOSTNAME="node-1", NODE_IP="192.0.2.1"
    )

    assert 0 == status, output
    assert "OK: 1 pipeline" in output


# The manifests.


@pytest.mark.parametrize("name", sorted(MANIFESTS))
def test_a_pod_has_no_privileges(name: str) -> None:
    spec = pod(name)
    (container,) = spec["containers"]

    assert spec["securityContext"]["runAsNonRoot"]
    assert last("USER") == "{runAsUser}:{runAsGroup}".format(**spec["securityContext"])
    assert {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    } == container["securityContext"]
    assert not spec["automountServiceAccountToken"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert all("hostPath" not in volume for volume in spec["volumes"])
    assert all(mount["readOnly"] for mount in container["volumeMounts"])


@pytest.mark.parametrize("name", sorted(MANIFESTS))
def test_a_pod_has_probes_on_the_port_of_the_extension(name: str) -> None:
    (container,) = pod(name)["containers"]
    more = yaml.safe_load(only(name, "ConfigMap")["data"]["more.yaml"])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    assert f"0.0.0.0:{ports['health']}" == more["extensions"]["health_check"]["endpoint"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert {"path": "/", "port": "health"} == container[probe]["httpGet"]


@pytest.mark.parametrize("name", sorted(MANIFESTS))
def test_a_pod_fits_a_device_of_512_mb_and_has_time_to_stop(name: str) -> None:
    (container,) = pod(name)["containers"]

    assert int(container["resources"]["limits"]["memory"].removesuffix("Mi")) <= 320
    assert pod(name)["terminationGracePeriodSeconds"] > 20


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MANIFESTS))
def test_the_arguments_of_a_pod_run(name: str, tmp_path: Path) -> None:
    (container,) = pod(name)["containers"]
    (mount,) = container["volumeMounts"]
    (volume,) = pod(name)["volumes"]
    config_map = only(name, "ConfigMap")
    assert config_map["metadata"]["name"] == volume["configMap"]["name"]
    for file, text in config_map["data"].items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    arguments = [one.replace(mount["mountPath"], str(tmp_path)) for one in container["args"]]
    variables = {one["name"]: "192.0.2.1" for one in container.get("env", [])}

    assert (0, "OK: 4 pipelines\n") == exit_of("validate", *arguments, **variables)


def test_the_agent_sends_to_the_service_of_the_gateway() -> None:
    service = only("gateway", "Service")
    (container,) = pod("agent")["containers"]
    (gateway,) = pod("gateway")["containers"]
    ports = {port["name"]: port for port in service["spec"]["ports"]}

    target = f"{service['metadata']['name']}:{ports['otlp-grpc']['port']}"
    assert f"--export-to={target}" in container["args"]
    names = {port["name"] for port in gateway["ports"]}
    assert {port["targetPort"] for port in ports.values()} <= names
    template = only("gateway", "Deployment")["spec"]["template"]
    assert service["spec"]["selector"] == template["metadata"]["labels"]


# What goes into the image.


def assemble() -> Any:
    """The script of the second stage, as a module."""
    specification = importlib.util.spec_from_file_location("assemble", DEPLOY / "assemble.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "is_wanted"),
    [
        ("asyncio", True),
        ("py.typed", True),
        ("loop.cpython-313-x86_64-linux-gnu.so", True),
        ("mlsysops_collector-0.1.0.dist-info", True),
        ("entry_points.txt", True),
        ("config", True),
        ("testing", True),
        ("test", False),
        ("__pycache__", False),
        ("pip-25.0.dist-info", False),
        ("config-3.13-x86_64-linux-gnu", False),
        ("loop.pyx", False),
    ],
)
def test_what_serves_developers_is_left_out(name: str, is_wanted: bool) -> None:
    assert is_wanted == assemble().is_wanted(name, "/usr/local/lib/python3.13/site-packages")


def test_extensions_that_nothing_imports_are_left_out() -> None:
    script, folder = assemble(), "/usr/local/lib/python3.13/lib-dynload"

    assert script.is_wanted("_ssl.cpython-313.so", folder)
    assert not script.is_wanted("_tkinter.cpython-313.so", folder)
    assert script.is_wanted("_testing.py", "/usr/local/lib/python3.13/asyncio")


def test_libraries_are_what_ldd_lists() -> None:
    text = (
        "\tlinux-vdso.so.1 (0x00007ffd)\n"
        "\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f00)\n"
        "\tlibmissing.so => not found\n"
        "\t/lib64/ld-linux-x86-64.so.2 (0x00007f01)\n"
        "\tstatically linked\n"
    )

    found = [str(path) for path in assemble()._listed(text)]
    assert ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"] == found

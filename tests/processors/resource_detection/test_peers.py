"""The detectors that ask somebody: good answers, bad ones, slow ones and none (components, C15)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlsysops_pipeline.pdata.signal import Signal
from mlsysops_pipeline.testing import (
    JumpClock,
    advance_until,
    make_payload,
    make_settings,
    wait_until,
)
from mlsysops_processors.resource_detection import asking, docker
from mlsysops_processors.resource_detection.detection import DetectionError
from tests.processors.resource_detection.peers import (
    CONTAINER,
    INFO,
    Peer,
    attributes,
    authority,
    hang_up,
    make,
    serving,
    status,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

NODE = {"metadata": {"name": "n1", "uid": "uid-of-node"}, "status": {"images": []}}
SPACE = {"metadata": {"name": "kube-system", "uid": "uid-of-cluster"}}
NODE_PATH, SPACE_PATH = "/api/v1/nodes/n1", "/api/v1/namespaces/kube-system"


async def found(
    config: dict[str, Any],
    clock: JumpClock | None = None,
    *,
    turned: Callable[[], object] | None = None,
) -> dict[str, Any]:
    """What a resource gets. Time stands still, or passes as soon as ``turned`` holds."""
    clock = clock or JumpClock()
    processor = make(config, clock=clock)
    settings = make_settings(clock=clock)
    starting = settings.tasks.spawn("start", processor.start())
    await wait_until(lambda: starting.done() or (turned is not None and turned()))
    await advance_until(clock, starting.done, step_s=0.1)
    await starting
    result = attributes(processor.process(make_payload(Signal.LOGS, 1)))
    del result["service.name"]
    await processor.shutdown()
    return result


# Docker

DOCKER: dict[str, Any] = {"detectors": ["docker"]}
WHOLE: dict[str, Any] = {
    "detectors": ["docker"],
    "docker": {
        "resource_attributes": {
            name: {"enabled": True} for name in ("container.name", "container.image.name")
        }
    },
}


async def test_docker_says_its_host_and_our_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(docker, "SOCKET_PATH", str(tmp_path / "d.sock"))
    monkeypatch.setattr("socket.gethostname", lambda: "ab/c")
    answers = {"/info": INFO, "/containers/ab/c/json": CONTAINER}
    async with serving(answers, path=tmp_path / "d.sock") as (peer, _):
        expected = {"host.name": "dockerhost", "os.type": "linux"}
        assert expected == await found(DOCKER)
        assert ["/info"] == [request.path for request in peer.asked]
        expected |= {"container.name": "agent", "container.image.name": "agent:1.0"}
        assert expected == await found(WHOLE)
        assert "/containers/ab%2Fc/json" == peer.asked[-1].raw_path


async def test_docker_is_found_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving({"/info": INFO}) as (_, port):
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
        assert "dockerhost" == (await found(DOCKER))["host.name"]


@pytest.mark.parametrize("place", ["tcp://h:1", "ssh://h", "unix://", "nonsense"])
async def test_docker_in_other_ways_is_said_to_be_missing(
    place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DOCKER_HOST", place)
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    assert {"host.name": "node"} == await found(DOCKER)
    assert "only unix:// and plain tcp:// are supported" in caplog.text


async def test_no_docker_delays_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    clock = JumpClock()
    assert {"host.name": "node"} == await found(DOCKER, clock)
    assert clock.monotonic() < 1_000.0 + 0.5
    assert "detector docker found nothing more, data goes on without it" in caplog.text


async def test_who_needs_docker_waits_for_it_and_does_not_start_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    clock = JumpClock()
    with pytest.raises(DetectionError, match=r"docker: .*none\.sock"):
        await found({**DOCKER, "fail_on_missing_metadata": True}, clock, turned=lambda: True)
    assert 1_004.9 < clock.monotonic() < 1_007.0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (status(500), "HTTP 500"),
        (status(404), "HTTP 404"),
        (status(302, Location="/elsewhere"), "HTTP 302"),
        (status(200, "no json"), "the answer is no JSON: 'no json'"),
        (status(200, "[" * 100_000), "the answer is no JSON"),
        (status(200, "\udcff".encode("utf-8", "surrogatepass").decode("latin-1")), "no JSON"),
        ([["a"], ["a"]], "the answer is no object"),
        ({"OSType": "linux"}, "the answer has no Name"),
        ({"OSType": "linux", "Name": 7}, "the answer has no Name"),
        ({"OSType": None, "Name": "h"}, "the answer has no OSType"),
        (hang_up, "Server disconnected"),
        (None, "no answer within 1 s"),
    ],
)
async def test_bad_answers_of_docker_are_said_and_cost_its_attributes_only(
    answer: Any,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/d.sock")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "a=1")
    clock = JumpClock()
    async with serving({"/info": answer}, path=tmp_path / "d.sock") as (peer, _):
        result = await found(
            {"detectors": ["docker", "env"], "timeout": "1s"},
            clock,
            turned=lambda: peer.asked if answer is None else "will retry" in caplog.text,
        )
    assert ("1", "node") == (result["a"], result["host.name"])
    assert said in caplog.text
    assert clock.monotonic() < 1_000.0 + 1.2


async def test_an_answer_without_end_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(asking, "ANSWER_BYTES_MAX", 1_000)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/d.sock")
    async with serving({"/info": status(200, "x" * 2_000)}, path=tmp_path / "d.sock"):
        assert {"host.name": "node"} == await found(DOCKER)
    assert "the answer has more than 1000 bytes" in caplog.text


async def test_a_daemon_that_is_starting_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/d.sock")
    answers = {"/info": [status(503), hang_up, INFO]}
    async with serving(answers, path=tmp_path / "d.sock") as (peer, _):
        config = {**DOCKER, "timeout": "10m"}
        assert "dockerhost" == (await found(config, turned=lambda: peer.asked))["host.name"]
        assert 3 == len(peer.asked)


async def test_what_docker_said_before_it_failed_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/d.sock")
    async with serving({"/info": INFO}, path=tmp_path / "d.sock"):
        assert {"host.name": "dockerhost", "os.type": "linux"} == await found(WHOLE)


# Kubernetes


@pytest.fixture
def in_a_pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ssl.SSLContext:
    monkeypatch.setenv("K8S_NODE_NAME", "n1")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # the API server is near
    return authority(monkeypatch, tmp_path)


async def of_node(
    answers: dict[str, Any],
    tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    section: dict[str, Any] | None = None,
    turned: Callable[[Peer], object] = lambda _: False,
    **config: Any,
) -> tuple[dict[str, Any], Peer]:
    async with serving(answers, tls=tls) as (peer, port):
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
        whole = {"detectors": ["k8s_api"], "k8s_api": section or {}, "timeout": "1s", **config}
        result = await found(whole, turned=lambda: turned(peer))
        result.pop("host.name")
        return result, peer


async def test_the_api_server_says_node_and_cluster(
    in_a_pod: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {NODE_PATH: NODE, SPACE_PATH: SPACE}
    result, peer = await of_node(answers, in_a_pod, monkeypatch)
    expected = {
        "k8s.node.name": "n1",
        "k8s.node.uid": "uid-of-node",
        "k8s.cluster.uid": "uid-of-cluster",
    }
    assert expected == result
    assert ["Bearer secret-token"] * 2 == [one.headers["Authorization"] for one in peer.asked]


async def test_the_older_name_has_its_own_section_and_only_asks_what_is_wanted(
    in_a_pod: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_NODE", "n1")
    off = {"resource_attributes": {"k8s.cluster.uid": {"enabled": False}}}
    section = {"node_from_env_var": "MY_NODE", **off}
    result, peer = await of_node(
        {NODE_PATH: NODE}, in_a_pod, monkeypatch, detectors=["k8snode"], k8snode=section
    )
    assert {"k8s.node.name": "n1", "k8s.node.uid": "uid-of-node"} == result
    assert 1 == len(peer.asked)


async def test_who_may_not_see_the_cluster_is_told_and_gets_the_rest(
    in_a_pod: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = {NODE_PATH: NODE, SPACE_PATH: status(403, "forbidden")}
    result, _ = await of_node(answers, in_a_pod, monkeypatch)
    assert {"k8s.node.name": "n1", "k8s.node.uid": "uid-of-node"} == result
    assert "no permission to get namespaces/kube-system" in caplog.text


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (status(401), "HTTP 401"),
        (status(404, '{"kind": "Status"}'), "HTTP 404"),
        (status(500), "HTTP 500"),
        (status(200, "<html>"), "the answer is no JSON"),
        ({"metadata": {"name": "n1"}}, "the answer has no metadata.uid"),
        ({"metadata": [1]}, "the answer has no metadata.uid"),
        (hang_up, "disconnected"),
        (None, "no answer within 1 s"),
    ],
)
async def test_without_the_api_server_the_name_of_the_node_is_known(
    answer: Any,
    said: str,
    in_a_pod: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    result, _ = await of_node(
        {NODE_PATH: answer, SPACE_PATH: SPACE},
        in_a_pod,
        monkeypatch,
        turned=lambda peer: peer.asked if answer is None else "will retry" in caplog.text,
    )
    assert {"k8s.node.name": "n1"} == result
    assert said in caplog.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("token", None), "No such file"),
        (("token", b""), "has no token"),
        (("token", b"two\nlines"), "has no token"),
        (("token", b"\xff\xfe"), "has no token"),
        (("ca.crt", None), "No such file"),
        (("ca.crt", b"nonsense"), "the service account cannot be used"),
    ],
)
async def test_a_service_account_that_cannot_be_used_is_said(
    change: tuple[str, bytes | None],
    said: str,
    *,
    in_a_pod: ssl.SSLContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name, content = change
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result, peer = await of_node({NODE_PATH: NODE}, in_a_pod, monkeypatch)
    assert ({"k8s.node.name": "n1"}, []) == (result, peer.asked)
    assert said in caplog.text


async def test_a_stranger_with_another_certificate_gets_no_token(
    in_a_pod: ssl.SSLContext,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    authority(monkeypatch, tmp_path_factory.mktemp("another"))
    result, peer = await of_node(
        {NODE_PATH: NODE}, in_a_pod, monkeypatch, turned=lambda _: "will retry" in caplog.text
    )
    assert ({"k8s.node.name": "n1"}, []) == (result, peer.asked)
    assert "certificate verify failed" in caplog.text


async def test_who_does_not_name_himself_asks_for_no_name(
    in_a_pod: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").unlink()
    answers = {NODE_PATH: NODE, SPACE_PATH: SPACE}
    result, peer = await of_node(answers, in_a_pod, monkeypatch, {"auth_type": "none"})
    assert "uid-of-node" == result["k8s.node.uid"]
    assert "Authorization" not in peer.asked[0].headers


async def test_outside_of_a_cluster_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("K8S_NODE_NAME", "n1")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert "n1" == (await found({"detectors": ["k8s_api"]}))["k8s.node.name"]
    assert "this is no pod of a cluster" in caplog.text


async def test_without_the_name_of_the_node_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("K8S_NODE_NAME", raising=False)
    with pytest.raises(DetectionError, match=r"k8s_api: node name can't be found: set K8S_NODE"):
        await found({"detectors": ["k8s_api"]})

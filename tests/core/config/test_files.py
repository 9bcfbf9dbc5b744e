"""Files that a configuration names and nobody can read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsysops_pipeline import cli
from mlsysops_pipeline.config.files import unreadable

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.core.config.conftest import Load

FILE = """\
receivers:
  otlp: {protocols: {grpc: {tls: {cert_file: /nowhere/c.pem, key_file: KEY}}}}
exporters: {debug: }
service: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}
"""


def test_a_file_that_is_not_there_is_a_warning_at_its_key(load: Load, tmp_path: Path) -> None:
    key = tmp_path / "k.pem"
    key.touch()
    loaded = load(FILE.replace("KEY", str(key)))
    (problem,) = unreadable(loaded.good)
    assert problem.line().replace(f"{tmp_path}/", "") == (
        "F:2:46: warning: receivers.otlp.protocols.grpc.tls.cert_file: unable to read the file "
        "/nowhere/c.pem: No such file or directory"
    )
    key.unlink()
    assert 2 == len(list(unreadable(loaded.good)))


def test_a_folder_and_an_impossible_name_are_no_files(load: Load, tmp_path: Path) -> None:
    loaded = load(FILE.replace("KEY", f"{tmp_path}"))
    assert ["No such file or directory", "Is a directory"] == [
        problem.message.rpartition(": ")[2] for problem in unreadable(loaded.good)
    ]
    assert 2 == len(list(unreadable(load(FILE.replace("KEY", '"a\\0b"')).good)))


def test_validate_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(FILE.replace("KEY", "/nowhere/k.pem"))
    assert 0 == cli.main(["validate", f"--config={path}"])
    lines = capsys.readouterr().err.splitlines()
    assert ["cert_file", "key_file"] == [
        line.split(": ")[2].rpartition(".")[2] for line in lines if "unable to read" in line
    ]

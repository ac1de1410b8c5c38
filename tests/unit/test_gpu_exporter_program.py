"""The GPU exporter as it is shipped: one file, the same bytes each time, which runs with nothing but Python."""

from __future__ import annotations

import io
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.unit.simulated_nvml import DRIVER, Simulated
from vllm_fleet.render.gpu_exporter import program_file
from vllm_fleet.render.zipapp import zipapp

MODULES = {"__main__.py": b"print(1)\n", "b.py": b"", "a/x.py": b"x = 1\n"}


def test_its_bytes_depend_on_the_modules_alone() -> None:
    assert zipapp(MODULES) == zipapp(dict(reversed(MODULES.items())))
    assert zipapp(MODULES) != zipapp(MODULES | {"b.py": b"\n"})
    with zipfile.ZipFile(io.BytesIO(zipapp(MODULES))) as archive:
        assert [(entry.filename, entry.date_time[0], entry.compress_type) for entry in archive.infolist()] == [
            ("__main__.py", 1980, 0),
            ("a/x.py", 1980, 0),
            ("b.py", 1980, 0),
        ]


def test_what_is_in_the_program() -> None:
    with zipfile.ZipFile(io.BytesIO(program_file().data)) as archive:
        names = set(archive.namelist())
        assert {"__main__.py", "pynvml.py", "nvml_exporter/app.py", "nvml_exporter/__init__.py"} <= names
        assert not [name for name in names if not name.endswith(".py")]


def test_it_asks_for_nothing_that_a_host_lacks() -> None:
    with zipfile.ZipFile(io.BytesIO(program_file().data)) as archive:
        sources = [archive.read(name).decode() for name in archive.namelist()]
    imported = set(re.findall(r"^(?:import|from) (\w+)", "\n".join(sources), re.MULTILINE))
    assert imported - set(sys.stdlib_module_names) == {"pynvml", "nvml_exporter"}


@pytest.mark.skipif(not shutil.which("gcc"), reason="the stand-in for NVML is compiled")
def test_it_runs(tmp_path: Path) -> None:
    simulated = Simulated(tmp_path)
    simulated.load(DRIVER)
    program = tmp_path / "nvml_exporter.pyz"
    program.write_bytes(program_file().data)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [sys.executable, "-I", str(program), "--address", "127.0.0.1", "--port", str(port), "--gpus", "8"]
    environment = {"LD_LIBRARY_PATH": str(tmp_path)}
    with subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True) as process:
        text = ""
        while "nvml_gpu_up" not in text and process.poll() is None:
            time.sleep(0.1)  # it starts, and asks NVML for the first time
            text = scrape(port)
        process.terminate()
        _, said = process.communicate()
    assert said == ""
    assert len(re.findall(r"^nvml_gpu_up{.*} 1$", text, re.MULTILINE)) == 8


def scrape(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:  # it does not listen yet
        return ""


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    program = tmp_path / "nvml_exporter.pyz"
    program.write_bytes(program_file().data)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        argv = [sys.executable, "-I", str(program), "--address", "127.0.0.1", "--port", str(port), "--gpus", "8"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"nvml_exporter: 127.0.0.1 port {port}: Address already in use\n")

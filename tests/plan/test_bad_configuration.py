"""Bad configuration through pyinfra itself: one line each, exit code not 0, no host contacted."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path):
    """A copy of the project with only the inventory `single`, whose files a test may spoil."""
    for name in ("vllm_fleet", "templates", "config.py", "deploy.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    for folder in ("inventories", "group_data"):
        (tmp_path / folder).mkdir()
        shutil.copy(ROOT / folder / "single.py", tmp_path / folder / "single.py")
    return tmp_path


def deploy(project, **environment):
    # the address is that of the documentation networks: a connection would hang, not be answered
    return subprocess.run(
        [sys.executable, "-m", "pyinfra", "-y", "inventories/single.py", "deploy.py"],
        cwd=project,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def spoil(project, file, old, new):
    path = project / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("max_model_len=16384", "max_model_length=16384",
         "services.chat.max_model_length: unknown key; did you mean max_model_len?"),
        ("max_model_len=16384", 'max_model_len="16k"', "services.chat.max_model_len: input should be a valid integer"),
        ('hosts=["box-1"]', 'hosts=["box-7"]', "services.chat.hosts: 'box-7' is not in the inventory's group 'gpu'"),
        ("max_model_len=16384", "tensor_parallel_size=3",
         "services.chat.tensor_parallel_size: 3 does not divide 28 attention heads (Qwen/Qwen2.5-7B-Instruct); "
         "use 1, 2 or 4"),
        ("max_model_len=16384", "tensor_parallel_size=2",
         "services.chat.replicas: each needs 2 GPUs on 1 host(s), free are box-1 1"),
        ("api_keys=[Secret(env=\"CLIENT_KEY\")]", "api_keys=[]", "gateway.api_keys: "),
        ("max_model_len=16384", 'options={"max-num-seq": 64}',
         "services.chat.options.max-num-seq: is short for max-num-seqs"),
        ("max_model_len=16384", 'options={"swap-space": 4}, env={"VLLM_USE_V1": "1"}',
         "services.chat.env.VLLM_USE_V1: is gone: there is one engine; remove it\n"
         "services.chat.options.swap-space: is gone: nothing swaps to the host; "),
    ],
)  # fmt: skip
def test_one_line_and_no_connection(project, old, new, message):
    spoil(project, "group_data/single.py", old, new)
    ran = deploy(project)
    assert ran.returncode == 1
    assert f"pyinfra error: {message}" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "Connecting" not in ran.stderr


def test_an_unknown_key_of_a_host(project):
    spoil(project, "inventories/single.py", '"gpus": 1', '"gpu_count": 1')
    ran = deploy(project)
    assert ran.returncode == 1
    assert "pyinfra error: hosts.box-1.gpu_count: unknown key; " in ran.stderr
    assert "Connecting" not in ran.stderr


@pytest.mark.parametrize(
    "environment, message",
    [
        ({"CLIENT_KEY": "client"}, "services.chat.api_key: environment variable CHAT_ENGINE_KEY is not set; export it"),
        ({"CLIENT_KEY": "client", "CHAT_ENGINE_KEY": " "},
         "services.chat.api_key: the secret from environment variable CHAT_ENGINE_KEY is empty; put a value there"),
        ({"CLIENT_KEY": "client", "CHAT_ENGINE_KEY": "engine"},
         "services.chat.runtime.image: has the example's digest; put in what `skopeo inspect"),
    ],
)  # fmt: skip
def test_what_only_a_deploy_needs_is_looked_at_before_it_connects(project, environment, message):
    ran = deploy(project, **environment)
    assert ran.returncode == 1
    assert f"pyinfra error: {message}" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "Connecting" not in ran.stderr


def test_a_certificate_is_looked_at_before_it_connects(project):
    spoil(project, "group_data/single.py", "Gateway(", 'Gateway(certificate=Secret(command="echo no PEM"), ')
    ran = deploy(project, CLIENT_KEY="client", CHAT_ENGINE_KEY="engine")
    assert ran.returncode == 1
    assert "pyinfra error: gateway.certificate: holds no certificate that can be read; put there, as PEM," in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "Connecting" not in ran.stderr


def test_an_inventory_that_is_not_there(project):
    (project / "inventories" / "single.py").rename(project / "inventories" / "box.py")
    ran = deploy(project)
    assert ran.returncode == 1
    assert "pyinfra error: inventories/single.py: no such inventory; in that folder are: box.py" in ran.stderr

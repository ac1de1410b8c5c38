"""A deploy that cannot succeed fails, says why in a line, and leaves serving what served."""

import pytest

from tests.lab.conftest import deploy, wait_until

pytestmark = pytest.mark.lab


def test_a_failed_deploy_leaves_the_last_good_release_serving(lab, changed):
    current = "readlink /etc/vllm-fleet/engines/batch/current"
    before = lab.ssh("gpu-2", current)
    # only the engine itself can tell that its host has no such file
    queue = '"max-num-queued-reqs": 80'
    project = changed(queue, f'{queue}, "chat-template": "/nowhere.jinja"')
    code, said = deploy(project, "--limit", "gpu-2")
    assert code == 1
    assert "batch: not ready: " in said
    assert "/nowhere.jinja" in said
    assert "batch: rolled back to release" in said
    assert lab.ssh("gpu-2", current) == before
    # the gateway takes it back after two good checks
    wait_until(lambda: lab.complete("tiny-llama-batch").status_code == 200, 15, "the old release serves")


def test_what_vllm_would_refuse_ends_the_deploy_before_a_host_is_asked_anything(changed):
    code, said = deploy(changed("port=8100,", 'port=8100, quantization="no-such-method",'))
    assert code == 1
    assert "pyinfra error: services.batch.quantization: vLLM 0.32 has no method 'no-such-method'; use " in said
    assert "Starting operation" not in said


def test_an_empty_key_ends_the_deploy_before_a_host_is_asked_anything(changed):
    code, said = deploy(changed('Secret(file=".lab/secrets/engine-key")', 'Secret(command="true")'))
    assert code == 1
    assert "pyinfra error: services.chat.api_key: the secret from command true is empty; put a value there" in said
    assert "Starting operation" not in said

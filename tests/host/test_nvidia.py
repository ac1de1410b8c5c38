"""GPU hosts: the declared driver, its companions of the same version, its GPUs, and what keeps them so."""

from __future__ import annotations

import pytest

from tests.host.machine import Machine
from vllm_fleet.driver.found import CDI, LOADED, drained_note
from vllm_fleet.render import tuning
from vllm_fleet.render.nvidia import DRIVER_PACKAGES, FABRIC_MANAGER


@pytest.fixture
def driven(gpu: Machine) -> Machine:
    """A host whose driver the bundle installs."""
    if not gpu.here.gpus or gpu.fleet.versions.nvidia_packages is None:
        pytest.skip("no driver is declared for this host")
    return gpu


def _installed(machine: Machine) -> dict[str, tuple[str, str]]:
    """The driver's packages that are installed: version and what is wanted of each."""
    form = r"${Package} ${Version} ${db:Status-Want} ${db:Status-Status}\n"
    patterns = " ".join(f"'{pattern}'" for pattern in DRIVER_PACKAGES)
    rows = [line.split() for line in machine.run(f"dpkg-query --show --showformat '{form}' {patterns}").splitlines()]
    return {name: (version, want) for name, version, want, status in rows if status == "installed"}


def test_the_loaded_module_is_of_the_declared_branch_and_the_librarys_version(driven: Machine) -> None:
    module = driven.run(LOADED)
    assert module.startswith(f"{driven.fleet.versions.nvidia_driver}.")
    library = driven.run("nvidia-smi --query-gpu=driver_version --format=csv,noheader").splitlines()
    assert set(library) == {module}


def test_every_declared_gpu_is_visible(driven: Machine) -> None:
    assert len(driven.run("nvidia-smi -L").splitlines()) == driven.here.gpus


def test_no_upgrade_moves_the_driver(driven: Machine) -> None:
    branch = f"{driven.fleet.versions.nvidia_driver}."
    ours = {
        name: want for name, (version, want) in _installed(driven).items() if version.split(":")[-1].startswith(branch)
    }
    assert ours
    assert set(ours.values()) == {"hold"}


def test_the_fabric_manager_is_of_the_same_version_and_runs(driven: Machine) -> None:
    if not driven.here.has_nvswitch:
        pytest.skip("no NVSwitch joins this host's GPUs")
    assert driven.run(LOADED) in driven.run("nv-fabricmanager --version")
    assert driven.shell.service(FABRIC_MANAGER).is_running
    assert driven.shell.service(FABRIC_MANAGER).is_enabled


def test_gpus_stay_initialised_without_a_client(driven: Machine) -> None:
    assert driven.shell.service("nvidia-persistenced").is_running


def test_containers_get_every_gpu_as_a_cdi_device_of_this_driver(driven: Machine) -> None:
    listed = driven.run(f"grep -oE 'name: \"?[0-9]+\"?$' {CDI}").splitlines()
    assert len(listed) == driven.here.gpus
    assert driven.run(LOADED) in driven.run(f"cat {CDI}")


def test_nouveau_is_kept_out(driven: Machine) -> None:
    assert driven.shell.file(tuning.NOUVEAU.path).content_string == tuning.NOUVEAU.content
    assert not driven.succeeds("grep -q ^nouveau /proc/modules")


def test_kernel_settings_are_in_force_where_the_kernel_is_the_hosts_own(driven: Machine) -> None:
    assert driven.shell.file(tuning.SYSCTL.path).content_string == tuning.SYSCTL.content
    assert driven.succeeds(tuning.applied())


def test_no_server_stays_drained(driven: Machine) -> None:
    assert not driven.succeeds(f"[ -s {drained_note()} ]")

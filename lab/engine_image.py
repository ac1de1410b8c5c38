"""The engine's image: Debian with Python 3.11, and vLLM's CPU build above it; pushed to the lab's registry by digest.

Written as an OCI layout (github.com/opencontainers/image-spec) of two uncompressed layers: compressing 2 GB takes
minutes on two cores, and the registry is on this machine.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from lab import base, mirrors, shell, wheels
from lab.topology import ENGINE_IMAGE_NAME, ENGINE_RELEASE, REGISTRY, Paths

LIBRARIES = "/opt/vllm"
# libnuma and libgomp are loaded by vLLM's and PyTorch's CPU kernels. No compiler: the lab's engines run eagerly.
PACKAGES = ("python3", "python3-distutils", "libnuma1", "libgomp1", "ca-certificates")
# Guarded: vLLM spawns its engine's process, which imports this script again.
SCRIPT = """\
#!/usr/bin/python3
import sys
from vllm.entrypoints.cli.main import main
if __name__ == "__main__":
    sys.exit(main())
"""

CONFIG: dict[str, Any] = {
    "Entrypoint": ["vllm", "serve"],
    "Env": [
        "PATH=/usr/local/bin:/usr/bin:/bin",
        f"PYTHONPATH={LIBRARIES}",
        "VLLM_TARGET_DEVICE=cpu",
        "HOME=/tmp",
    ],
    "WorkingDir": "/",
}


def root() -> base.Root:
    """Debian below vLLM; the script stands here because it names this root's Python."""
    setup = (
        f'mkdir -p "$1"{LIBRARIES}; cat > "$1"/usr/local/bin/vllm <<\'END\'\n{SCRIPT}END\n'
        'chmod 755 "$1"/usr/local/bin/vllm'
    )
    return base.Root("engine", ENGINE_RELEASE, PACKAGES, customize_hook=setup)


def key() -> str:
    """Changes when the image would."""
    parts = [root().key, wheels.key(), json.dumps(CONFIG), LIBRARIES]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def libraries(paths: Paths) -> Path:
    """The folder of installed wheels, made if it is not there; byte code is made by the engine's own Python."""
    target = paths.cache / f"libraries-{wheels.key()}"
    if target.exists():
        return target
    for old in paths.cache.glob("libraries-*"):
        shutil.rmtree(old)
    half = target.with_name(f"{target.name}.half")
    wheels.install(paths, half)
    shutil.rmtree(half / "bin", ignore_errors=True)
    compile_all = ["python3", "-m", "compileall", "-q", "-j", "2", LIBRARIES]
    argv = mirrors.build_inside(base.build(root(), paths), {half: LIBRARIES}, compile_all)
    # some packages carry files for other Pythons, which do not compile; their byte code is not needed
    with (paths.logs / "compile.log").open("w") as log:
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=False)
    half.rename(target)
    return target


def build(paths: Paths) -> Path:
    """The image as an OCI layout, made if it is not there."""
    target = paths.cache / f"image-{key()}"
    if target.exists():
        return target
    for old in paths.cache.glob("image-*"):
        shutil.rmtree(old)
    half = target.with_name(f"{target.name}.half")
    blobs = half / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers = [
        _layer(base.build(root(), paths), ".", blobs, paths),
        _layer(libraries(paths), LIBRARIES.strip("/"), blobs, paths),
    ]
    write_layout(half, layers)
    half.rename(target)
    return target


def _layer(source: Path, inside: str, blobs: Path, paths: Paths) -> dict[str, Any]:
    """A folder as an uncompressed layer under `inside`, and its descriptor."""
    part = blobs / "part"
    argv = ["tar", "--create", "--file", str(part), "--directory", str(source), "--numeric-owner", "--sort=name"]
    argv += ["--owner=0", "--group=0"] if inside != "." else ["--exclude=./dev/*", "--exclude=./proc/*"]
    argv += [f"--transform=s,^\\.,{inside},", "."] if inside != "." else ["."]
    shell.logged(argv, paths.logs / "layer.log", f"packing {source.name}")
    with part.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    size = part.stat().st_size
    part.rename(blobs / digest)
    return _descriptor("application/vnd.oci.image.layer.v1.tar", digest, size)


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def write_layout(layout: Path, layers: list[dict[str, Any]]) -> str:
    """Configuration, manifest and index above the layers; gives the manifest's digest."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": CONFIG,
        # an uncompressed layer's digest is also its diff id
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _blob(layout, config, "application/vnd.oci.image.config.v1+json"),
        "layers": layers,
    }
    descriptor = _blob(layout, manifest, manifest["mediaType"])
    annotations = {"org.opencontainers.image.ref.name": "lab"}
    index = {"schemaVersion": 2, "manifests": [descriptor | {"annotations": annotations}]}
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(descriptor["digest"])


def _blob(layout: Path, content: dict[str, Any], media_type: Any) -> dict[str, Any]:
    data = json.dumps(content, sort_keys=True).encode()
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(data)
    return _descriptor(str(media_type), digest, len(data))


def reference(paths: Paths) -> str:
    """The image by digest, as a host pulls it."""
    index = json.loads((build(paths) / "index.json").read_text())
    return f"{REGISTRY}/{ENGINE_IMAGE_NAME}@{index['manifests'][0]['digest']}"


def push(mirror_root: Path, paths: Paths) -> None:
    """Into the registry on the bridge, unless it has it; the digest stays the layout's."""
    layout = build(paths)
    done = paths.registry / f"pushed-{layout.name}"
    if done.exists():
        return
    argv = ["skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]
    argv += ["oci:/mnt:lab", f"docker://{REGISTRY}/{ENGINE_IMAGE_NAME}:lab"]
    command = mirrors.build_inside(mirror_root, {layout: "/mnt"}, argv)
    mend = "is the registry up? see .lab/run/mirrors/registry.log"
    shell.logged(command, paths.logs / "push.log", "pushing the image", mend=mend)
    done.touch()

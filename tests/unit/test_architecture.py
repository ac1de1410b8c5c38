"""Imports point down only, and pyinfra stays at the edge (docs/architecture.md)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "vllm_fleet"

# What each part of the package may import of the others.
MAY_IMPORT = {
    "schema": set(),
    "paths": set(),
    "planner": {"schema"},
    "engine": {"schema", "planner", "paths"},
    "network": {"schema", "planner", "paths"},
    "observe": {"schema", "planner", "paths", "network"},
    "render": {"schema", "planner", "paths", "engine", "network", "observe"},
    "packages": {"paths"},
    "tree": {"render", "paths"},
    "driver": {"tree", "packages", "render", "schema", "paths"},
    "facts": set(),
    "converge": {"facts"},
    "operations": {
        *("converge", "facts", "packages", "tree", "driver", "remote", "render"),
        *("network", "observe", "engine", "planner", "schema", "paths"),
    },
    "roles": {
        *("operations", "driver", "tree", "facts", "render"),
        *("network", "observe", "engine", "planner", "schema", "paths"),
    },
    "payload": set(),
    "inventory": {"schema", "planner"},
    "hub": {"schema", "planner"},
    "remote": set(),
    "drill": {"remote", "schema", "planner", "engine", "observe", "paths"},
    "commands": {"inventory", "hub", "remote", "drill", "schema", "planner", "engine", "observe", "network"},
    "cli": {"commands", "schema"},
    "__init__": set(),
}
MAY_IMPORT_PYINFRA = {"roles", "operations", "converge", "facts", "remote"}
# schema/errors.py says why
PYINFRA_EXCEPTIONS = {"schema/errors.py": {"pyinfra.api.exceptions"}}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1, f"{path}: import by full name across packages"
            if node.level == 0:
                names |= {node.module or ""} | {
                    f"{node.module}.{alias.name}" for alias in node.names if node.module == "vllm_fleet"
                }
    return names


SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    part = part_of(path)
    parts = {name.split(".")[1] for name in imports(path) if name.startswith("vllm_fleet.")}
    assert parts - {part} <= MAY_IMPORT[part]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_edge_imports_pyinfra(path):
    used = {name for name in imports(path) if name.split(".")[0] in ("pyinfra", "pyinfra_cli")}
    if part_of(path) not in MAY_IMPORT_PYINFRA:
        assert used == PYINFRA_EXCEPTIONS.get(str(path.relative_to(PACKAGE)), set())


def test_roles_do_not_import_each_other():
    for path in (PACKAGE / "roles").glob("*.py"):
        assert not {name for name in imports(path) if name.startswith("vllm_fleet.roles")}


def test_payloads_import_nothing_of_ours():
    for path in (PACKAGE / "payload").rglob("*.py"):
        assert not {name for name in imports(path) if name.startswith("vllm_fleet")}


def test_the_lab_knows_nothing_of_the_bundle():
    for path in (ROOT / "lab").glob("*.py"):
        assert not {name for name in imports(path) if name.split(".")[0] in ("vllm_fleet", "pyinfra")}


def test_dashboards_know_what_is_watched_and_the_bundle_not_how_it_is_drawn():
    for path in (ROOT / "grafana").glob("*.py"):
        ours = {
            name for name in imports(path) if name.split(".")[0] not in ("__future__", "grafana", "itertools", "typing")
        }
        assert all(name.startswith("vllm_fleet.observe") for name in ours), path
    for path in SOURCES:
        assert "grafana" not in {name.split(".")[0] for name in imports(path)}, path

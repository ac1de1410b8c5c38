"""What is declared of a host's driver, and what the host lacks of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from vllm_fleet import tree
from vllm_fleet.driver.found import Found, look
from vllm_fleet.render.nvidia import (
    DISTRIBUTIONS,
    TOOLKIT,
    Distribution,
    distribution,
    driver_packages,
    other_packages,
    package_files,
    units,
    version_pattern,
)
from vllm_fleet.schema import Host, Versions
from vllm_fleet.tree import Changes, Tree, Unit


@dataclass(frozen=True)
class Needs:
    """What a host lacks; all empty when nothing is to do."""

    driver: tuple[str, ...] = ()
    """Packages, all of the wanted version."""
    others: tuple[str, ...] = ()
    """Packages of any version."""
    hold: tuple[str, ...] = ()
    """Packages that an unattended upgrade would move."""
    module: bool = False
    """No module is loaded, or another than the packages'."""
    cdi: bool = False
    """The CDI specification was made for other versions, or not at all."""
    admit: bool = False
    """Servers that an earlier deploy drained, and did not admit again."""
    files: Changes = field(default_factory=lambda: Changes((), (), (), ()))
    """Package sources, pins and units."""

    @property
    def disruptive(self) -> bool:
        """Whether engines must be out of service meanwhile."""
        return bool(self.driver or self.module or self.admit)

    def __bool__(self) -> bool:
        return bool(self.disruptive or self.others or self.hold or self.cdi or self.files)


@dataclass(frozen=True)
class Driver:
    """The declared driver of one host."""

    versions: Versions
    host: Host

    @property
    def look(self) -> str:
        """The shell command that tells what stands on the host (`found`)."""
        # any will do: the files' paths are the same for all
        return look(self.files(next(iter(DISTRIBUTIONS)), "amd64"))

    def files(self, name: str, architecture: str) -> Tree:
        """Package sources, pins and units for a distribution."""
        entries = package_files(self.versions, name, architecture)
        return Tree("nvidia", tuple(entries), units=tuple(Unit(unit) for unit in units(self.host)))

    def packages(self, now: Found) -> tuple[str, ...]:
        """Those that must be of one version; the first stands for all. Raises ConfigError for a distribution whose
        names are not known."""
        return driver_packages(self.versions, self.host, self._names(now))

    def _names(self, now: Found) -> Distribution:
        return distribution(self.host.name, now.distribution)

    def installed(self, now: Found) -> str | None:
        """The version of all its packages; None where one is missing, or they differ."""
        there = {now.packages[name].upstream if name in now.packages else None for name in self.packages(now)}
        return there.pop() if len(there) == 1 else None

    def is_wanted(self, version: str | None) -> bool:
        """Whether a version is the declared one, or of the declared branch where only that is declared."""
        exact = self.versions.nvidia_driver_version
        return version is not None and (
            version == exact if exact else version.startswith(f"{self.versions.nvidia_driver}.")
        )

    def needs(self, now: Found) -> Needs:
        """What the host lacks. Raises ConfigError as `packages` does."""
        version = self.installed(now)
        good = self.is_wanted(version)
        others = other_packages(self.host, self._names(now), now.architecture)
        return Needs(
            driver=() if good else self.packages(now),
            others=tuple(name for name in others if name not in now.packages),
            hold=tuple(name for name, one in now.packages.items() if self.is_wanted(one.upstream) and not one.held),
            module=now.module is None or now.module != version,
            cdi=now.cdi is None or now.cdi != made_for(now),
            admit=bool(now.drained),
            files=tree.compare(self.files(now.distribution, now.architecture), now.tree),
        )

    def plan(self, now: Found, needs: Needs) -> Iterator[str]:
        """What will be done, as a person reads it."""
        if needs.driver:
            yield f"install driver {version_pattern(self.versions)}"
        if needs.driver or needs.module:
            yield f"reboot (driver {now.module} is loaded)" if now.module else "reboot unless the module loads without"
        if needs.others:
            yield f"install {' '.join(needs.others)}"
        yield from (f"write {entry.path}" for entry in needs.files.entries)
        yield from needs.files.actions
        if needs.hold:
            yield f"hold {' '.join(needs.hold)}"
        if needs.cdi:
            yield "generate the CDI specification"
        yield from (f"admit {server}" for server in now.drained)


def made_for(now: Found) -> str:
    """The versions that a CDI specification made now is for: module and toolkit."""
    toolkit = now.packages.get(TOOLKIT)
    return f"{now.module} {toolkit.version if toolkit else None}"

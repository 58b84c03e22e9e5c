"""The circuit packages that are served, by model and version; each is opened and checked at start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from verinfer.circuits.package import Package, open_package

from .errors import Refused


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Packages by model name, then by version; the first version of a model is its default."""

    models: dict[str, dict[str, Package]]

    def find(self, model: str, version: str | None = None) -> Package:
        """The package; raises `Refused` (``model-unknown``, ``version-unknown``)."""
        versions = self.models.get(model)
        if versions is None:
            raise Refused("model-unknown", field="model_name")
        if version is None:
            return next(iter(versions.values()))
        if version not in versions:
            raise Refused("version-unknown", field="model_version")
        return versions[version]

    def circuit(self, digest: str) -> Package:
        """The package of this circuit; raises `Refused` (``circuit-gone``)."""
        for package in self:
            if package.digest == digest:
                return package
        raise Refused("circuit-gone")

    def __iter__(self) -> Iterator[Package]:
        for versions in self.models.values():
            yield from versions.values()


def open_catalogue(folders: Sequence[Path]) -> Catalogue:
    """Open every package; raises `Refused` (``package-repeated``) and what `open_package` raises."""
    models: dict[str, dict[str, Package]] = {}
    for folder in folders:
        package = open_package(folder)
        model = package.manifest.model
        versions = models.setdefault(model.name, {})
        if model.version in versions:
            raise Refused(
                "package-repeated", f"Two packages are {model.name} {model.version}; serve one of them."
            )
        versions[model.version] = package
    return Catalogue(models)

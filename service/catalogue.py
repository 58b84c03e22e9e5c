"""The circuit packages that are served, by model and version; each is opened and checked before it is served.

Some are given when the server starts; those that are built here join them while it runs, whenever somebody asks for a model
that is not known yet. Safe to share between threads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from verinfer.circuits.package import Package, open_package
from verinfer.verifier.errors import VerinferError

from .errors import Refused

_log = logging.getLogger(__name__)

Models = dict[str, dict[str, Package]]


class Catalogue:
    """Packages by model name, then by version; the first version of a model is its default."""

    def __init__(self, given: Sequence[Package], built: Callable[[], Sequence[Path]]) -> None:
        """`built` lists the folders of all packages that were built here so far.

        Raises `Refused` (``package-repeated``).
        """
        self._models: Models = {}
        self._built = built
        self._seen: set[Path] = set()
        self._refreshing = threading.Lock()
        for package in given:
            self._add(package)
        self.refresh()

    @property
    def models(self) -> Models:
        """What is served now."""
        return self._models

    def find(self, model: str, version: str | None = None) -> Package:
        """The package, as far as is known; raises `Refused` (``model-unknown``, ``version-unknown``)."""
        versions = self._models.get(model)
        if versions is None:
            raise Refused("model-unknown", field="model_name")
        if version is None:
            return next(iter(versions.values()))
        if version not in versions:
            raise Refused("version-unknown", field="model_version")
        return versions[version]

    def circuit(self, digest: str) -> Package:
        """The package of this circuit, looked for anew if need be; raises `Refused` (``circuit-gone``)."""
        found = self._with_circuit(digest)
        if found is None and self.refresh():
            found = self._with_circuit(digest)
        if found is None:
            raise Refused("circuit-gone")
        return found

    def _with_circuit(self, digest: str) -> Package | None:
        return next((package for package in self if package.digest == digest), None)

    def refresh(self) -> bool:
        """Take in what was built meanwhile, and say whether there was anything; reads whole packages."""
        with self._refreshing:
            new = [folder for folder in self._built() if folder not in self._seen]
            for folder in new:
                self._seen.add(folder)
                try:
                    self._add(open_package(folder))
                except VerinferError as error:
                    # One of them must not keep all others from being served.
                    facts = {"package": str(folder), "code": error.code}
                    _log.error("a built package is not served", extra={"facts": facts})
        return bool(new)

    def _add(self, package: Package) -> None:
        model = package.manifest.model
        versions = self._models.get(model.name, {})
        if (other := versions.get(model.version)) is not None:
            raise Refused(
                "package-repeated",
                f"Two packages are {model.name} {model.version}, {other.folder} and {package.folder}; serve one of them.",
            )
        # Others may be reading the old tables.
        self._models = {**self._models, model.name: {**versions, model.version: package}}

    def __iter__(self) -> Iterator[Package]:
        for versions in self._models.values():
            yield from versions.values()


def open_catalogue(folders: Sequence[Path], built: Callable[[], Sequence[Path]] = tuple) -> Catalogue:
    """Open every package; raises `Refused` (``package-repeated``) and what `open_package` raises."""
    return Catalogue([open_package(folder) for folder in folders], built)

"""Who may read a package's files."""

from __future__ import annotations

from verinfer.circuits.package import Package


def test_weights_and_samples_are_for_their_owner_alone(quick_package: Package) -> None:
    """Each file that holds weights or samples in clear has mode 0600, named here one by one."""
    for part in ("pk.key", "model.compiled", "network.onnx", "wrapped.onnx", "samples.npz"):
        assert quick_package.path(part).stat().st_mode & 0o777 == 0o600, part

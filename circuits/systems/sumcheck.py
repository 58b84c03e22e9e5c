"""Packages of verinfer-sc/1, our own transparent proof system.

The steps are in `sumcheck_steps`, which takes numpy: it is loaded when a package is built, not with the command line.
"""

from __future__ import annotations

from .port import Building, Built, Rebuilding, Rebuilt


class Sumcheck:
    """Circuits of the kind ``verinfer-sc-1``."""

    def build(self, order: Building) -> Built:
        """As `port.System`; the reason of `Unfit` names the node that cannot be proven, or how near the best numbers came."""
        from . import sumcheck_steps

        return sumcheck_steps.build(order)

    def rebuild(self, order: Rebuilding) -> Rebuilt:
        """As `port.System`: the integer network is made again of the manifest's numbers."""
        from . import sumcheck_steps

        return sumcheck_steps.rebuild(order)

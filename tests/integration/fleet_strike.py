"""Runs the command line and strikes its process down at a chosen moment of a roll-out.

    python -m tests.integration.fleet_strike POINT COMMAND ...

POINT is `-` for no blow, else `apply:NAME:SECONDS`, `back:NAME:SECONDS` (so long after a cluster was asked)
or `save:NUMBER` (after the record was saved so often).
"""

import os
import signal
import sys
import threading
import time
from typing import Any

from dual_update.adapters.cluster_api import ClusterApi
from dual_update.adapters.rollout_record import RolloutRecord
from dual_update.usecases.local_cluster import LocalCluster


def strike(seconds: float) -> None:
    def blow() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    if seconds <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Thread(target=blow, daemon=True).start()


def arm(point: str) -> None:
    what, _, rest = point.partition(":")
    if what == "save":
        left = [int(rest)]
        save = RolloutRecord.save

        def counted(self: RolloutRecord, rollout: Any) -> None:
            save(self, rollout)
            left[0] -= 1
            if left[0] == 0:
                strike(0)

        RolloutRecord.save = counted  # type: ignore[method-assign]
        return
    name, _, seconds = rest.partition(":")
    method = "apply" if what == "apply" else "go_back"
    for kind in (LocalCluster, ClusterApi):
        original = getattr(kind, method)

        def asked(self: Any, *arguments: Any, original: Any = original) -> None:
            original(self, *arguments)
            if f".{name}." in arguments[-1]:  # the wish's own name holds the cluster's
                strike(float(seconds))

        setattr(kind, method, asked)


if __name__ == "__main__":
    from dual_update.__main__ import main

    if sys.argv[1] != "-":
        arm(sys.argv[1])
    sys.argv = ["dual-update", *sys.argv[2:]]
    sys.exit(main())

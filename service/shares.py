"""Shares: what each of several workers may use of this machine.

On a CPU, lanes: as many in all as there are cores that the service may use, by affinity and quota. On GPUs, one worker
a GPU. Never pins a worker to cores: it may use what the others leave.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from service.cores import usable_cores
from service.errors import StartupError
from service.settings import PREFIX, Settings

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_DEVICES: Final = Path("/dev")


def shares(settings: Settings) -> list[Settings]:
    """Each worker's settings; lanes that the operator has set are each worker's, bounded by its share.

    Raises:
        StartupError: if there are more workers than cores.
    """
    num, cores = settings.workers, usable_cores()
    if num > cores:
        raise StartupError(f"{PREFIX}WORKERS {num} is more than the {cores} cores that may be used")
    each = [cores // num + (number < cores % num) for number in range(num)]
    return [
        settings.model_copy(
            update={"lanes": min(settings.lanes or share, share), "decode_lanes": settings.decode_lanes or share}
        )
        for share in each
    ]


def gpu_shares(
    settings: Settings, environ: Mapping[str, str] | None = None, devices: Path = _DEVICES
) -> list[str | None]:
    """What each worker sees as its one GPU, in the form of `CUDA_VISIBLE_DEVICES`; None for each on a CPU.

    That variable, where it is set, lists the GPUs to take, and may name one twice for two workers on it.

    Raises:
        StartupError: if there are more workers than GPUs.
    """
    if settings.device != "cuda":
        return [None] * settings.workers
    listed = (os.environ if environ is None else environ).get(VISIBLE)
    if listed is None:
        found = [str(number) for number in range(sum(1 for _ in devices.glob("nvidia[0-9]*")))]
    else:
        found = [name.strip() for name in listed.split(",") if name.strip()]
    if settings.workers > len(found):
        raise StartupError(f"{PREFIX}WORKERS {settings.workers} is more than the {len(found)} GPUs that are visible")
    return list(found[: settings.workers])

"""The service itself on the GPU: `mien serve` as processes of its own, under the bench's load generator.

Never shares a process with the service, and never counts an answer that is not 200.
"""

from collections.abc import Iterator, Mapping, Sequence

from clock import share_ms
from report import Omission, Served

from model.runtime.session import Device
from service.bench.contenders import running_service
from service.bench.duels import Loaded
from service.bench.load import LoadError
from service.bench.requests import Request
from service.client import ServiceProcessError


def measure_served(
    pack: str, device: Device, requests: Sequence[Request], clients: Sequence[int], seconds: float,
    *, workers: int, cuda_graphs: bool,
) -> Iterator[Served | Omission]:  # fmt: skip
    """Images and faces a second of each request at each number of clients."""
    what = f"service, {workers} workers, CUDA graphs {'on' if cuda_graphs else 'off'}"
    try:
        with running_service(pack, _environment(device, workers, cuda_graphs)) as contender:
            for request in requests:
                for num in clients:
                    found = Loaded(contender).measure(request, num, seconds)
                    times = [took * 1000 for took in found.seconds]
                    yield Served(
                        request=request.name, workers=workers, cuda_graphs=cuda_graphs, num_clients=num,
                        images_a_second=found.requests_a_second * request.num_images,
                        faces_a_second=found.requests_a_second * request.num_faces,
                        p50_ms=share_ms(times, 50), p99_ms=share_ms(times, 99), server_cores=found.cpu_cores,
                    )  # fmt: skip
    except (LoadError, ServiceProcessError) as error:
        yield Omission(what=what, why=str(error))


def _environment(device: Device, workers: int, cuda_graphs: bool) -> Mapping[str, str]:
    found = {"MIEN_DEVICE": device, "MIEN_WORKERS": str(workers), "MIEN_MAX_IN_FLIGHT": "256"}
    if device == "cuda":
        found["MIEN_CUDA_GRAPHS"] = str(cuda_graphs).lower()
        found["CUDA_VISIBLE_DEVICES"] = ",".join(["0"] * workers)
    return found

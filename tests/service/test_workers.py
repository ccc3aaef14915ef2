"""Several workers behind one port, as real processes: who answers, who is replaced, and what callers see of it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import httpx
import pytest

from service.app import create_app
from service.client import free_port, is_free
from service.errors import StartupError
from service.roster import Membership, Roster, WorkerState
from service.shares import gpu_shares, shares
from service.supervisor import backoff_seconds
from tests.packs import Square, build_pack, photo
from tests.service.processes import ROOT, Process, process
from tests.service.serving import WAIT_SECONDS, settings_for, wait_until

GOOD = photo(Square(16, 16))
WHITE = photo(Square(16, 16, 32, (255, 255, 255)))
IMAGE = {"content-type": "image/png"}
TWO_CORES = "import service.shares; service.shares.usable_cores = lambda: 2"
NO_ANSWER = 0


@contextmanager
def workers(pack: Path, log: Path, **variables: str) -> Iterator[Process]:
    """A service of two workers."""
    with process(pack, log, TWO_CORES, MIEN_WORKERS="2", **variables) as service:
        yield service


def post(url: str, data: bytes = GOOD) -> int:
    """The status of an answer on a connection of its own; 0 where there was none."""
    try:
        return httpx.post(f"{url}/analyze", content=data, headers=IMAGE, timeout=WAIT_SECONDS).status_code
    except httpx.TransportError:
        return NO_ANSWER


def metric(service: Process, sample: str) -> float:
    """A sample of /metrics, which whichever worker answers adds up; 0 where there is none."""
    for line in httpx.get(f"{service.url}/metrics").text.splitlines():
        if line.rpartition(" ")[0] == sample:
            return float(line.rpartition(" ")[2])
    return 0.0


def pids(service: Process) -> dict[object, int]:
    """The process of each worker, as the supervisor logged it last."""
    return {event["worker"]: int(str(event["pid"])) for event in service.events("worker started")}


def replaced(service: Process, reason: str) -> None:
    """Waits until a worker was replaced, and both take work."""
    wait_until(lambda: metric(service, f'mien_worker_restarts_total{{reason="{reason}"}}') == 1)
    wait_until(lambda: metric(service, "mien_workers") == 2)


def test_both_answer_and_metrics_add_up(tiny_pack: Path, tmp_path: Path) -> None:
    """Both workers answer at one address, each logs its number, and /metrics is the sum whoever is asked for it."""
    with workers(tiny_pack, tmp_path / "log") as service:
        num = 0
        while {event["worker"] for event in service.events("request") if event["route"] == "/analyze"} != {0, 1}:
            num += 1
            assert num < 500, "one worker takes everything"
            assert post(service.url) == 200
        for _ in range(10):
            assert metric(service, 'mien_requests_total{route="/analyze",status="200"}') == num
            assert metric(service, 'mien_stage_seconds_count{stage="total"}') == num
        found = {name: metric(service, name) for name in ("mien_workers", "mien_ready", "mien_images_in_flight")}
        assert found == {"mien_workers": 2, "mien_ready": 1, "mien_images_in_flight": 0}
        text = httpx.get(f"{service.url}/metrics").text
        assert 'name="tiny"' in text
        assert "pid=" not in text


def test_killed_worker_is_replaced_and_the_other_goes_on(tiny_pack: Path, tmp_path: Path) -> None:
    """SIGKILL of a worker under load: its callers lose their connection, all others get 200, counters go on."""
    with workers(tiny_pack, tmp_path / "log") as service, ThreadPoolExecutor(4) as callers:
        before = [post(service.url) for _ in range(10)]
        answers = [callers.submit(post, service.url) for _ in range(60)]
        wait_until(lambda: answers[10].done())
        os.kill(pids(service)[0], signal.SIGKILL)
        during = [answer.result() for answer in answers]
        replaced(service, "died")
        after = [post(service.url) for _ in range(20)]
        assert (set(before), set(after)) == ({200}, {200})
        # At most one request of each caller was with the worker that died.
        assert Counter(during)[200] + Counter(during)[NO_ANSWER] == 60
        assert Counter(during)[NO_ANSWER] <= 4
        counted = metric(service, 'mien_requests_total{route="/analyze",status="200"}')
        # It may have been killed between an answer and its count, which follows in the same turn of its event loop.
        assert counted >= 30 + Counter(during)[200] - 1
        assert metric(service, "mien_images_in_flight") == 0
        assert httpx.get(f"{service.url}/readyz").status_code == 200


def test_worker_that_is_told_to_stop_alone_is_not_missed(tiny_pack: Path, tmp_path: Path) -> None:
    """SIGTERM to one worker: it finishes and is replaced, and no caller sees anything but 200."""
    with workers(tiny_pack, tmp_path / "log") as service, ThreadPoolExecutor(4) as callers:
        answers = [callers.submit(post, service.url) for _ in range(60)]
        wait_until(lambda: answers[10].done())
        os.kill(pids(service)[1], signal.SIGTERM)
        assert {answer.result() for answer in answers} == {200}
        replaced(service, "died")


def test_worker_whose_loop_stands_is_replaced(tiny_pack: Path, tmp_path: Path) -> None:
    """A worker that is stopped dead is killed after the watchdog's bound and replaced; new callers get 200."""
    with workers(tiny_pack, tmp_path / "log", MIEN_WATCHDOG_SECONDS="1") as service:
        os.kill(pids(service)[0], signal.SIGSTOP)
        assert [post(service.url) for _ in range(5)] == [200] * 5
        replaced(service, "silent")
        assert [post(service.url) for _ in range(5)] == [200] * 5


def test_worker_with_a_run_that_hangs_is_replaced(tmp_path: Path) -> None:
    """A graph that never ends: its caller gets 503, its worker is replaced, and the other answers meanwhile."""
    pack = build_pack(tmp_path / "hanging", fault="hanging")
    with workers(pack, tmp_path / "log", MIEN_WATCHDOG_SECONDS="1") as service:
        assert post(service.url, WHITE) == 503
        replaced(service, "stalled")
        assert [post(service.url) for _ in range(5)] == [200] * 5
        assert httpx.get(f"{service.url}/livez").status_code == 200


def test_sigterm_under_load_loses_nothing(tiny_pack: Path, tmp_path: Path) -> None:
    """Whatever any worker accepted before SIGTERM is answered, and the service ends with 0, its port free."""
    with workers(tiny_pack, tmp_path / "log") as service, ThreadPoolExecutor(16) as callers:
        answers = [callers.submit(post, service.url) for _ in range(200)]
        wait_until(lambda: answers[40].done())
        service.running.send_signal(signal.SIGTERM)
        assert service.wait() == 0
        codes = Counter(answer.result() for answer in answers)
        logged = Counter(event["status"] for event in service.events("request") if event["route"] == "/analyze")
        for event in service.events("refused"):
            logged[event["status"]] += cast("int", event["requests"])
        # Callers saw what the workers say that they sent; others came too late for a connection.
        assert {code: num for code, num in codes.items() if code != NO_ANSWER} == logged
        assert set(logged) <= {200, 503}
        assert logged[200] > 40
        assert is_free(service.address[1])
        assert not list(Path("/dev/shm").glob(f"mien-metrics-{service.running.pid}-*"))


def test_workers_end_with_their_supervisor(tiny_pack: Path, tmp_path: Path) -> None:
    """A supervisor that is killed takes its workers along: the port can be had again, and nothing stays in memory."""
    with workers(tiny_pack, tmp_path / "log") as service:
        assert post(service.url) == 200
        service.running.kill()
        wait_until(lambda: is_free(service.address[1]))
        wait_until(lambda: len(service.events("ends, since its supervisor has gone")) == 2)
        wait_until(lambda: not list(Path("/dev/shm").glob(f"mien-metrics-{service.running.pid}-*")))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--pack", "/none", "--workers", "2"], "no pack"),
        (["--workers", "250"], "MIEN_WORKERS 250 is more than the"),
        (["--workers", "0"], "MIEN_WORKERS: "),
    ],
)
def test_wrong_start_is_one_line(options: list[str], words: str) -> None:
    """A pack that is not there, or more workers than cores, ends the command with one clear line and 1."""
    command = [sys.executable, "-m", "service", "serve", "--port", str(free_port()), "--log-level", "error", *options]
    environ = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert (done.returncode, len(errors)) == (1, 1), done.stderr
    assert words in errors[0] or "is more than the 1 cores" in errors[0]  # on a machine of one core, that comes first
    assert "Traceback" not in done.stderr


def test_no_room_for_metrics_is_one_line() -> None:
    """Where workers have no room to count in, the command ends with one clear line, and no worker dies of it later."""
    script = (
        f"{TWO_CORES}; import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
        "from service.cli import main; main(['serve', '--workers', '2', '--port', '0'])"
    )
    command = [sys.executable, "-c", script]
    environ = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: workers count in /")
    assert "Traceback" not in done.stderr


def test_not_ready_until_all_are_warm(tiny_pack: Path) -> None:
    """A warm worker answers work, and /readyz says 503 until every worker is warm."""
    roster = Roster(2, 2)
    app = create_app(settings_for(tiny_pack), member=Membership(roster, 0), is_late=True)

    async def main() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://x") as http,
        ):
            assert (await http.post("/analyze", content=GOOD, headers=IMAGE)).status_code == 200
            waits = await http.get("/readyz")
            assert (waits.status_code, waits.json()["type"]) == (503, "urn:mien:problem:starting")
            roster.set_ready()
            assert (await http.get("/readyz")).status_code == 200

    asyncio.run(main())


def test_roster_tells_states_and_silence() -> None:
    """All are warm only when each is; a worker that never beat is not silent; one that ended is forgotten."""
    roster = Roster(2, 2)
    assert (roster.silent_seconds(0), roster.all_warm, roster.is_ready) == (0, False, False)
    all_warm = []
    for number in range(2):
        roster.beat(number, WorkerState.WARM)
        all_warm.append(roster.all_warm)
    assert all_warm == [False, True]
    assert 0 < roster.silent_seconds(1) < WAIT_SECONDS
    roster.clear(1)
    assert [roster.state(number).name for number in range(2)] == ["WARM", "STARTING"]
    assert roster.silent_seconds(1) == 0


def test_cores_are_shared_out(tiny_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers' lanes add up to the usable cores; lanes that are set are each worker's, within its share."""
    monkeypatch.setattr("service.shares.usable_cores", lambda: 7)
    monkeypatch.setattr("service.settings.usable_cores", lambda: 7)
    even = shares(settings_for(tiny_pack, workers=3))
    assert [each.num_lanes for each in even] == [3, 2, 2]
    assert [each.num_decode_lanes for each in even] == [3, 2, 2]
    stated = shares(settings_for(tiny_pack, workers=3, lanes=3, decode_lanes=1))
    assert [(each.num_lanes, each.num_decode_lanes) for each in stated] == [(3, 1), (2, 1), (2, 1)]
    with pytest.raises(StartupError, match="MIEN_WORKERS 8 is more than the 7 cores"):
        shares(settings_for(tiny_pack, workers=8))


def test_gpus_are_shared_out(tiny_pack: Path, tmp_path: Path) -> None:
    """Each worker sees one GPU, of those listed or those there are; more workers than GPUs stop start-up."""
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    two = settings_for(tiny_pack, device="cuda", workers=2)
    assert gpu_shares(two, {}, tmp_path) == ["0", "1"]
    assert gpu_shares(two, {"CUDA_VISIBLE_DEVICES": "GPU-a, GPU-b,GPU-c"}, tmp_path) == ["GPU-a", "GPU-b"]
    assert gpu_shares(two, {"CUDA_VISIBLE_DEVICES": "0,0"}, tmp_path) == ["0", "0"]
    assert gpu_shares(settings_for(tiny_pack, workers=2), {}, tmp_path) == [None, None]
    with pytest.raises(StartupError, match="MIEN_WORKERS 2 is more than the 1 GPUs"):
        gpu_shares(two, {"CUDA_VISIBLE_DEVICES": "3"}, tmp_path)


def test_back_off_grows_and_is_bounded() -> None:
    """The first restart is at once, then it takes 1, 2, 4 seconds and so on, never over 30."""
    assert [backoff_seconds(num) for num in (0, 1, 2, 3, 4, 9, 1000)] == [0, 0, 1, 2, 4, 30, 30]


def test_lasting_connections_are_shared_out(tiny_pack: Path, tmp_path: Path) -> None:
    """Callers that keep their connections, as a balancer does, are split among the workers, however few they are."""
    with workers(tiny_pack, tmp_path / "log", MIEN_LOG_LEVEL="info") as service, ExitStack() as stack:
        callers = [stack.enter_context(httpx.Client(base_url=service.url, timeout=WAIT_SECONDS)) for _ in range(12)]
        for caller in callers:
            assert caller.post("/analyze", content=GOOD, headers=IMAGE).status_code == 200

        def told() -> list[object]:
            return [event["worker"] for event in service.events("request") if event["route"] == "/analyze"]

        wait_until(lambda: len(told()) == len(callers))
        # A worker that has fewer may be late by more than the other waits for it, but not time and again.
        assert min(Counter(told()).values()) >= 4
        assert len(Counter(told())) == 2


def test_connections_wait_where_descriptors_have_run_out(tiny_pack: Path, tmp_path: Path) -> None:
    """Workers that can open no more connections say so, go on with those they have, and take more when some end."""
    code = TWO_CORES + "; import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))"
    with process(tiny_pack, tmp_path / "log", code, MIEN_WORKERS="2") as service:
        host, port = service.url.removeprefix("http://").split(":")
        idle = [socket.create_connection((host, int(port)), WAIT_SECONDS) for _ in range(250)]
        wait_until(lambda: bool(service.events("no connection can be taken")))
        for connection in idle:
            connection.close()
        assert post(service.url) == 200
        assert service.running.poll() is None

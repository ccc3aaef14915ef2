"""Settings from the environment, and the cores that they are bounded by."""

import hashlib
from pathlib import Path

import pytest

from service.cores import cpu_quota, usable_cores
from service.errors import StartupError
from service.settings import Settings, read_settings


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """The defaults are those of the contract."""
    settings = read_settings()
    assert (settings.host, settings.port, settings.pack, settings.device) == ("127.0.0.1", 8000, "nano", "cpu")
    assert (settings.max_files, settings.max_in_flight, settings.max_body_mb) == (32, 64, 32)
    assert (settings.max_pixels, settings.deadline_ms, settings.max_wait_ms) == (40_000_000, 30_000, 0)
    assert settings.api_keys == ()


def test_environment_and_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable sets a setting, and a command line's option wins over it."""
    monkeypatch.setenv("MIEN_MAX_FILES", "5")
    monkeypatch.setenv("MIEN_PORT", "1234")
    settings = read_settings(port=99)
    assert (settings.max_files, settings.port) == (5, 99)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("MIEN_MAX_FILE", "MIEN_MAX_FILES"), ("MIEN_DEADLINE", "MIEN_DEADLINE_MS"), ("mien_prt", "MIEN_PORT")],
)
def test_unknown_variable_is_named_with_its_nearest(monkeypatch: pytest.MonkeyPatch, name: str, nearest: str) -> None:
    """A misspelt variable stops start-up instead of being passed over."""
    monkeypatch.setenv(name, "1")
    with pytest.raises(StartupError, match=f"{name}; did you mean {nearest}"):
        read_settings()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"MIEN_MAX_FILES": "0"}, "MIEN_MAX_FILES: "),
        ({"MIEN_MAX_FILES": "many"}, "MIEN_MAX_FILES: "),
        ({"MIEN_PORT": "70000"}, "MIEN_PORT: "),
        ({"MIEN_DEVICE": "tpu"}, "MIEN_DEVICE: "),
        ({"MIEN_MAX_FILES": "65"}, r"MIEN_MAX_IN_FLIGHT \(64\) is under MIEN_MAX_FILES \(65\)"),
        ({"MIEN_HOST": "0.0.0.0"}, "not loopback"),
        ({"MIEN_HOST": "::"}, "not loopback"),
        ({"MIEN_HOST": "example.org"}, "not loopback"),
        ({"MIEN_API_KEYS": "in-the-clear"}, "SHA-256"),
        ({"MIEN_ALLOW_ANONYMOUS": "maybe"}, "MIEN_ALLOW_ANONYMOUS: "),
    ],
)
def test_value_out_of_bounds_is_one_line(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    """A value that cannot be is one line that names its variable, and never repeats what may be a key."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StartupError, match=words) as caught:
        read_settings()
    assert "\n" not in str(caught.value)
    assert "in-the-clear" not in str(caught.value)


def test_beyond_loopback_with_keys_or_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another address than loopback is taken with keys, or when anonymous callers are allowed in so many words."""
    keys = ",".join(hashlib.sha256(key).hexdigest() for key in (b"a", b"b"))
    assert Settings(host="0.0.0.0", api_keys=keys).accepts("b")  # type: ignore[arg-type]
    assert Settings(host="0.0.0.0", allow_anonymous=True).host == "0.0.0.0"
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        assert Settings(host=host).host == host


def test_keys_are_compared_by_their_hash() -> None:
    """A key opens, its hash does not, and neither does nothing."""
    settings = Settings(api_keys=(hashlib.sha256(b"right").hexdigest(),))
    assert [settings.accepts(key) for key in ("right", "wrong", "", settings.api_keys[0])] == [
        True,
        False,
        False,
        False,
    ]


def test_lanes_never_exceed_the_usable_cores() -> None:
    """However many lanes are asked for, graphs run on no more cores than the process may use; on a GPU, one by one."""
    assert Settings(lanes=256).num_lanes == usable_cores()
    assert Settings(lanes=1).num_lanes == 1
    assert Settings(device="cuda").num_lanes == 1


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_quota_of_version_2(tmp_path: Path) -> None:
    """The tightest cpu.max from the process's group up to the root bounds it; `max` is no bound."""
    root, membership = tmp_path / "cgroup", tmp_path / "membership"
    write(membership, "0::/pod/box\n")
    write(root / "pod" / "box" / "cpu.max", "max 100000\n")
    assert cpu_quota(root, membership) is None
    write(root / "pod" / "cpu.max", "150000 100000\n")
    assert cpu_quota(root, membership) == 1.5
    write(root / "pod" / "box" / "cpu.max", "50000 100000\n")
    assert cpu_quota(root, membership) == 0.5
    assert usable_cores(root, membership) == 1


def test_quota_of_version_1(tmp_path: Path) -> None:
    """cpu.cfs_quota_us over cpu.cfs_period_us bounds it; -1 is no bound."""
    root, membership = tmp_path / "cgroup", tmp_path / "membership"
    write(membership, "3:cpuset:/\n2:cpu,cpuacct:/docker/x\n")
    write(root / "cpu,cpuacct" / "docker" / "x" / "cpu.cfs_period_us", "100000\n")
    write(root / "cpu,cpuacct" / "docker" / "x" / "cpu.cfs_quota_us", "-1\n")
    assert cpu_quota(root, membership) is None
    write(root / "cpu,cpuacct" / "docker" / "x" / "cpu.cfs_quota_us", "200000\n")
    assert cpu_quota(root, membership) == 2.0


def test_no_control_group_is_no_bound(tmp_path: Path) -> None:
    """Where there are no control groups, affinity alone counts."""
    assert cpu_quota(tmp_path, tmp_path / "none") is None
    assert usable_cores(tmp_path, tmp_path / "none") >= 1


def test_tensorrt_is_for_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TensorRT is off by default, refused on a CPU, and a folder for its engines is refused where it builds none."""
    assert (Settings().tensorrt, Settings().tensorrt_cache) == (False, None)
    monkeypatch.setenv("MIEN_TENSORRT", "true")
    with pytest.raises(StartupError, match="MIEN_TENSORRT runs on a GPU alone, and MIEN_DEVICE is cpu"):
        read_settings()
    monkeypatch.setenv("MIEN_TENSORRT_CACHE", str(tmp_path))
    found = read_settings(device="cuda", precision="float16")
    assert (found.tensorrt, found.tensorrt_cache, found.precision) == (True, tmp_path, "float16")
    monkeypatch.setenv("MIEN_TENSORRT", "false")
    with pytest.raises(StartupError, match="MIEN_TENSORRT_CACHE keeps what TensorRT builds"):
        read_settings(device="cuda")

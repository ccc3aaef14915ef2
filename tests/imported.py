"""Checkpoints in the published systems' layouts, made by this project, and the packs that the import makes of them.

The session fixtures are for every tree of tests; torch is imported when one of them is asked for. Never a published
weight: the tensors are drawn from the seed.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from click.testing import CliRunner

if TYPE_CHECKING:
    from torch import Tensor

    from model.config import NetworkConfig
    from model.network import MultiTaskNetwork

Small = Literal["swinface", "tmlfa", "faer", "face-analysis"]


@dataclass(frozen=True)
class Imported:
    """A pack, and the networks that it was imported from, an analyzer each."""

    folder: Path
    networks: "tuple[MultiTaskNetwork, ...]"


def filled(config: "NetworkConfig", seed: int = 0) -> "MultiTaskNetwork":
    """A network with weights and statistics of a trained one's size, so that every layer counts in the answer."""
    import torch

    from model.network import MultiTaskNetwork

    network = MultiTaskNetwork(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(0.5 + noise.abs())
            elif tensor.ndim > 1:
                tensor.copy_(noise / tensor[0].numel() ** 0.5)
            else:
                is_scale = name.endswith(".weight")
                tensor.copy_(0.1 * noise + (1.0 if is_scale else 0.0))
    return network


def multi_task_checkpoint(network: "MultiTaskNetwork", *, is_tmlfa: bool = False) -> "dict[str, object]":
    """What SwinFace's or TMLFA's training saves: the four state dicts with the training's own state beside them."""
    import torch
    from timm.scheduler.cosine_lr import CosineLRScheduler

    from model.published.swinface import to_published

    layers: Literal["output_fcs", "result_fcs"] = "result_fcs" if is_tmlfa else "output_fcs"
    parts = to_published(network.state_dict(), network.config, output_layers=layers)
    weight = torch.zeros(3)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(weight)], lr=5e-4)
    return {
        "epoch": 39,
        "global_step": 79999,
        "local_step": 12,
        **parts,
        "state_dict_softmax_fc": {"weight": weight},
        "state_optimizer": optimizer.state_dict(),
        "state_lr_scheduler": CosineLRScheduler(optimizer, t_initial=80000, t_in_epochs=False).state_dict(),
    }


def faer_checkpoint(network: "MultiTaskNetwork") -> "dict[str, object]":
    """What FAER's training saves of a DataParallel model."""
    import torch

    from model.published.faer import to_published

    state = to_published(network.state_dict(), network.config)["state_dict"]
    return {
        "epoch": 29,
        "state_dict": {f"module.{key}": value for key, value in state.items()},
        "best_acc": torch.tensor(8.13),
        "optimizer": torch.optim.AdamW([torch.nn.Parameter(torch.zeros(3))], lr=1e-3).state_dict(),
    }


def face_analysis_parts(network: "MultiTaskNetwork") -> "dict[str, dict[str, Tensor]]":
    """What face_analysis_pytorch's training saves, each part in a file of its own."""
    from model.published.face_analysis import to_published

    return to_published(network.state_dict(), network.config)


def save(path: Path, content: object) -> Path:
    """Writes what a training would; the path."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def write_config(path: Path, config: "NetworkConfig") -> Path:
    """A configuration as `--config` reads it; the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(config)))
    return path


def run(*arguments: object) -> str:
    """Runs `mien-export`, which must end well; what it printed."""
    from export.cli import main

    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def import_small(kind: Small, folder: Path) -> Imported:
    """Imports a system's checkpoint at a reduced size, through the command.

    SwinFace's and TMLFA's networks answer on crops of 56 pixels, both of FAER's on 64, and face_analysis_pytorch's four
    (recognition, age, gender, race) on 32.
    """
    if kind == "faer":
        return _import_faer(folder)
    if kind == "face-analysis":
        return _import_face_analysis(folder)
    from tests.model.networks import SMALL_SWINFACE

    network = filled(SMALL_SWINFACE)
    path = save(folder / "checkpoint.pt", multi_task_checkpoint(network, is_tmlfa=kind == "tmlfa"))
    config = write_config(folder / "config.json", SMALL_SWINFACE)
    run("import", kind, path, "--config", config, "--out", folder / kind)
    return Imported(folder / kind, (network,))


def _import_faer(folder: Path) -> Imported:
    from tests.model.networks import SMALL_FAER_ATTRIBUTES, SMALL_FAER_EXPRESSION

    networks = (filled(SMALL_FAER_ATTRIBUTES, 1), filled(SMALL_FAER_EXPRESSION, 2))
    paths = [save(folder / f"{index}.pth", faer_checkpoint(network)) for index, network in enumerate(networks)]
    run("import", "faer", *paths, *_configs(folder, networks), "--out", folder / "faer")
    return Imported(folder / "faer", networks)


def _import_face_analysis(folder: Path) -> Imported:
    from tests.model.networks import small_iresnet

    networks = (
        filled(small_iresnet(squeeze_excitation=True), 3),
        filled(small_iresnet(task="age"), 4),
        filled(small_iresnet(task="gender"), 5),
        filled(small_iresnet(task="race"), 6),
    )
    paths = [
        save(folder / f"{part}_{index}.pth", state)
        for index, network in enumerate(networks)
        for part, state in face_analysis_parts(network).items()
    ]
    run("import", "face-analysis", *paths, *_configs(folder, networks), "--out", folder / "ir")
    return Imported(folder / "ir", networks)


def _configs(folder: Path, networks: "Sequence[MultiTaskNetwork]") -> list[object]:
    paths = [write_config(folder / f"config-{index}.json", each.config) for index, each in enumerate(networks)]
    return [word for path in paths for word in ("--config", path)]


@pytest.fixture(scope="session")
def small_swinface(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """A pack of SwinFace's network at a reduced size: 56 pixels, every task but race."""
    return import_small("swinface", tmp_path_factory.mktemp("swinface"))


@pytest.fixture(scope="session")
def small_tmlfa(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """A pack of TMLFA's network at a reduced size: 56 pixels, every task but race."""
    return import_small("tmlfa", tmp_path_factory.mktemp("tmlfa"))


@pytest.fixture(scope="session")
def small_faer(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """A pack of FAER's two networks at a reduced size: attributes and expression, on CelebA's crops of 64 pixels."""
    return import_small("faer", tmp_path_factory.mktemp("faer"))


@pytest.fixture(scope="session")
def small_face_analysis(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """A pack of face_analysis_pytorch's four networks at a reduced size: embedding, age, gender, race on 32 pixels."""
    return import_small("face-analysis", tmp_path_factory.mktemp("face-analysis"))


@pytest.fixture(scope="session")
def full_swinface(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """A pack of SwinFace's network as published: 67.8 M parameters (half a minute of one core)."""
    from model.config import SWINFACE

    folder = tmp_path_factory.mktemp("full-swinface")
    network = filled(SWINFACE)
    path = save(folder / "checkpoint.pt", multi_task_checkpoint(network))
    run("import", "swinface", path, "--out", folder / "swinface")
    path.unlink()
    return Imported(folder / "swinface", (network,))


@pytest.fixture(scope="session")
def full_faer(tmp_path_factory: pytest.TempPathFactory, astronaut_path: Path) -> Imported:
    """A pack of FAER's attributes' network as published, 224 pixels: 101.7 M parameters (a minute of one core)."""
    from model.config import FAER_ATTRIBUTES

    folder = tmp_path_factory.mktemp("full-faer")
    network = filled(FAER_ATTRIBUTES)
    path = save(folder / "celeba.pth", faer_checkpoint(network))
    run("import", "faer", path, "--photo", astronaut_path, "--out", folder / "faer")  # one face: each costs seconds
    path.unlink()
    return Imported(folder / "faer", (network,))


@pytest.fixture(scope="session")
def full_face_analysis(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """A pack of face_analysis_pytorch's age network of depth 50 as published: 43.6 M parameters (half a minute)."""
    from model.config import iresnet

    folder = tmp_path_factory.mktemp("full-face-analysis")
    network = filled(iresnet(50, False, "age"))
    paths = [save(folder / f"{part}.pth", state) for part, state in face_analysis_parts(network).items()]
    run("import", "face-analysis", *reversed(paths), "--out", folder / "age")
    for path in paths:
        path.unlink()
    return Imported(folder / "age", (network,))

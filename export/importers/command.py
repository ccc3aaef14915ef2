"""`mien-export import`: packs of other systems' checkpoints and model zoos, one command a system.

Holds what reads the command line. Never does the work, and imports torch only when a command runs.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from export.importers.pack_options import PackOptions, pack_options
from export.terminal import interruptible, one_line, say_made

if TYPE_CHECKING:
    from export.importers.networks import PublishedNetwork
    from export.importers.systems import SystemName
    from model.network_config import NetworkConfig

_FILE = click.Path(path_type=Path)


@click.group(name="import")
def import_() -> None:
    """Makes a pack of weights that another system published.

    Files are read without running anything that is in them. Each graph is compared with its network at several batch
    sizes, on real faces and on edge inputs; a check that fails leaves nothing behind. Weights stay in float32.
    """


_config = click.option(
    "--config",
    "config_files",
    multiple=True,
    type=_FILE,
    help="A config.json, where the make-up is not the published one: a variant, another size. Once a network.",
)
_keep = click.option(
    "--keep",
    default=None,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write the network as a checkpoint, to train on from, evaluate or explain; of several, one a folder.",
)


@import_.command()
@click.argument("checkpoint", type=_FILE)
@_config
@_keep
@pack_options()
def swinface(options: PackOptions, checkpoint: Path, config_files: tuple[Path, ...], keep: Path | None) -> None:
    """Makes a pack of SwinFace's CHECKPOINT: embedding, expression, age, gender, attributes.

    \b
    mien-export import swinface checkpoint_step_79999_gpu_0.pt --out packs/swinface
    """  # noqa: D301 - click needs the control character
    _import_multi_task(options, checkpoint, "swinface", config_files, keep)


@import_.command()
@click.argument("checkpoint", type=_FILE)
@_config
@_keep
@pack_options()
def tmlfa(options: PackOptions, checkpoint: Path, config_files: tuple[Path, ...], keep: Path | None) -> None:
    """Makes a pack of TMLFA's CHECKPOINT: embedding, expression, age, gender, attributes.

    \b
    mien-export import tmlfa checkpoint_step_79999_gpu_0.pt --out packs/tmlfa
    """  # noqa: D301 - click needs the control character
    _import_multi_task(options, checkpoint, "tmlfa", config_files, keep)


@import_.command()
@click.argument("checkpoints", type=_FILE, nargs=-1, required=True, metavar="CHECKPOINT...")
@_config
@_keep
@click.option(
    "--expressions",
    type=click.Choice(["raf-db", "affectnet"]),
    default="raf-db",
    show_default=True,
    help="The set in whose label order an expressions' network answers.",
)
@pack_options()
def faer(
    options: PackOptions,
    checkpoints: tuple[Path, ...],
    config_files: tuple[Path, ...],
    keep: Path | None,
    expressions: Literal["raf-db", "affectnet"],
) -> None:
    """Makes a pack of FAER's CHECKPOINT: attributes or expression, or both of two files, on CelebA-aligned crops.

    \b
    mien-export import faer celeba.pth rafdb.pth --out packs/faer
    """  # noqa: D301 - click needs the control character
    with one_line(), interruptible():
        from export.importers.faer import read_faer

        _import(options, "faer", read_faer(checkpoints, _read_configs(config_files), expressions), keep)


@import_.command("face-analysis")
@click.argument("checkpoints", type=_FILE, nargs=-1, required=True, metavar="CHECKPOINT...")
@_config
@_keep
@pack_options()
def face_analysis(
    options: PackOptions, checkpoints: tuple[Path, ...], config_files: tuple[Path, ...], keep: Path | None
) -> None:
    """Makes a pack of face_analysis_pytorch's trunks and heads, an analyzer a trunk.

    Which file is a trunk or a head, how deep and of what, is told by what is in it. A head goes with the only trunk, or
    with the last one before it. A trunk without a head recognises faces.

    \b
    mien-export import face-analysis model_age.pth head_age.pth model_race.pth head_race.pth --out packs/ir
    """  # noqa: D301 - click needs the control character
    with one_line(), interruptible():
        from export.importers.face_analysis import read_face_analysis

        _import(options, "face-analysis", read_face_analysis(checkpoints, _read_configs(config_files)), keep)


@import_.command("insightface")
@click.argument("directory", type=_FILE)
@pack_options(detector="the folder's own; where it has none, a copy of the shipped pack's")
def insightface(options: PackOptions, directory: Path) -> None:
    """Makes a pack of an InsightFace model-zoo folder: its detector, recognition, and gender and age.

    Which file does what is told by what goes into it and comes out, not by its name. Landmark networks and others that
    a pack has no place for are left out and named.

    \b
    mien-export import insightface ~/.insightface/models/buffalo_l --out packs/buffalo_l
    """  # noqa: D301 - click needs the control character
    with one_line(), interruptible():
        from export.importers.insightface import TERMS, read_insightface
        from export.importers.packing import pack_analyzers
        from export.progress import Stages
        from model.runtime.pack import DEFAULT_PACK

        stages = Stages()
        with stages.stage(f"reading {directory.name}"):
            found = read_insightface(directory, needs_detector=options.detector is None)
        for text in found.left_out:
            click.echo(f"left out: {text}", err=True)
        if found.detector is None and options.detector is None:
            click.echo(f"the folder has no detector: a copy of the pack {DEFAULT_PACK}'s is taken", err=True)
        target = options.target(TERMS, DEFAULT_PACK if found.detector is None else str(found.detector.absolute()))
        say_made(pack_analyzers(replace(target, left_out=found.left_out), found.analyzers, stages))


def _import_multi_task(
    options: PackOptions,
    checkpoint: Path,
    system: Literal["swinface", "tmlfa"],
    config_files: tuple[Path, ...],
    keep: Path | None,
) -> None:
    with one_line(), interruptible():
        from export.importers.multi_task import read_multi_task
        from export.importers.networks import one_each

        (config,) = one_each(_read_configs(config_files), 1)
        _import(options, system, [read_multi_task(checkpoint, system, config)], keep)


def _import(
    options: PackOptions, system: "SystemName", networks: "Sequence[PublishedNetwork]", keep: Path | None
) -> None:
    from export.importers.networks import import_networks, keep_networks, require_keepable
    from export.importers.systems import SYSTEMS
    from export.progress import Stages

    if keep is not None:
        require_keepable(networks, keep)
    say_made(import_networks(networks, options.target(SYSTEMS[system].terms()), Stages()))
    if keep is not None:
        for folder in keep_networks(networks, keep):
            click.echo(f"{folder}: the network, to train on from by --init")


def _read_configs(paths: "Sequence[Path]") -> "list[NetworkConfig]":
    from export.errors import ExportError
    from model.network_config import NetworkConfig

    configs = []
    for path in paths:
        try:
            configs.append(NetworkConfig.from_json(path.read_text()))
        except OSError as error:
            raise ExportError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise ExportError(f"{path}: {error}") from error
    return configs

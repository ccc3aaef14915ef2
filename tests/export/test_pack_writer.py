"""A pack's files: hashes, checkpoints, manifest and card."""

from pathlib import Path

import torch

from export.pack_writer import pack_file, write_checkpoint, write_manifest
from export.precision import stored_state
from model.checkpoint import load_network
from model.network import MultiTaskNetwork
from model.runtime.pack import read_pack


def test_a_files_hash_is_its_sha256(tmp_path: Path) -> None:
    """The hash that a pack states is the file's SHA-256."""
    (tmp_path / "a.onnx").write_bytes(b"abc")
    assert pack_file(tmp_path, "a.onnx").sha256.startswith("ba7816bf8f01cfea414140de5dae2223")


def test_a_packs_checkpoint_is_one_that_training_and_evaluation_read(tmp_path: Path, network: MultiTaskNetwork) -> None:
    """A pack's checkpoint reads back as the network, with the numbers that were stored, and anyone may read it."""
    state = stored_state(network)
    files = write_checkpoint(tmp_path, "analyzer", state, network.config.to_json())
    assert [entry.file for entry in files] == ["analyzer/weights.safetensors", "analyzer/config.json"]
    read = load_network(tmp_path / "analyzer")
    assert read.config == network.config
    for name, value in read.state_dict().items():
        assert torch.equal(value, state[name].to(value.dtype)), name
    assert all((tmp_path / entry.file).stat().st_mode & 0o444 == 0o444 for entry in files)


def test_a_manifest_reads_back_as_it_was_written(own_pack: Path) -> None:
    """What is written as `pack.json` reads back equal, and the card is rewritten with it."""
    pack = read_pack(own_pack).model_copy(update={"version": "9.9.9"})
    write_manifest(own_pack, pack)
    assert read_pack(own_pack) == pack
    assert (own_pack / "CARD.md").read_text().startswith("# tiny 9.9.9\n")

"""What the published networks answer here, by the names of the reference outputs' arrays.

Holds the way from a configuration to these answers: its published key list, filled by name, read through
`from_published`. Never reads a reference. Each network is computed once a session.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.config import FAER_ATTRIBUTES, FAER_EXPRESSION, SWINFACE, TMLFA, NetworkConfig, iresnet
from model.network import MultiTaskNetwork
from model.published import face_analysis, faer, swinface
from model.published.layout import Parts
from model.runtime.labels import ATTRIBUTES
from tests.model.published.filling import filled, pixels

Arrays = dict[str, NDArray[np.float32]]
_OTHER_NAMES: Final = {"5_o_clock_shadow": "Five O'Clock Shadow"}


@dataclass(frozen=True)
class Reference:
    """A network of which there are reference outputs.

    Attributes:
        file: of the outputs, and of the key list.
        config: the network.
        read: `from_published` of its system.
        write: `to_published` of its system.
        lists: a published part to its list in the file of key lists.
    """

    file: str
    config: NetworkConfig
    read: Callable[[Parts], tuple[NetworkConfig, dict[str, Tensor]]]
    write: Callable[[Mapping[str, Tensor], NetworkConfig], dict[str, dict[str, Tensor]]]
    lists: Mapping[str, str]

    @property
    def num_images(self) -> int:
        """How many images the reference outputs are of."""
        return 1 if self.file.startswith("faer") else 2

    def key_list(self) -> dict[str, dict[str, Tensor]]:
        """Every published key with a tensor of its shape, which costs next to nothing."""
        with torch.device("meta"):
            return self.write(MultiTaskNetwork(self.config).state_dict(), self.config)

    def checkpoint(self) -> dict[str, dict[str, Tensor]]:
        """The published parts, filled by name; what Swin derives from its sizes is left out, as a checkpoint may."""
        task = self.config.tasks[0]
        return {
            part: filled(part, {key: value for key, value in tensors.items() if not swinface.is_derived(key)}, task)
            for part, tensors in self.key_list().items()
        }

    def network(self) -> MultiTaskNetwork:
        """The network of that checkpoint, in evaluation mode."""
        config, state = self.read(self.checkpoint())
        assert config == self.config
        network = MultiTaskNetwork(config)
        network.load_state_dict(state)
        return network.eval()


_SUBNETS: Final = {part: part for part in ("state_dict_backbone", "state_dict_fam", "state_dict_tss", "state_dict_om")}
_ONE: Final = {"state_dict": "state_dict"}


def _face_analysis(mode: str, depth: str, task: str) -> Reference:
    config = iresnet(int(depth), mode == "ir_se", task)  # type: ignore[arg-type]
    lists = {"model": f"model_{mode}_{depth}", **({} if task == "embedding" else {"head": f"head_{task}"})}
    return Reference("face_analysis", config, face_analysis.from_published, face_analysis.to_published, lists)


REFERENCES: Final[dict[str, Reference]] = {
    "swinface": Reference("swinface", SWINFACE, swinface.from_published, swinface.to_published, _SUBNETS),
    "tmlfa": Reference(
        *("tmlfa", TMLFA, swinface.from_published, partial(swinface.to_published, output_layers="result_fcs")), _SUBNETS
    ),
    "faer_attributes": Reference("faer_attributes", FAER_ATTRIBUTES, faer.from_published, faer.to_published, _ONE),
    "faer_expression": Reference("faer_expression", FAER_EXPRESSION, faer.from_published, faer.to_published, _ONE),
    **{
        f"embedding_{mode}_{depth}": _face_analysis(mode, depth, "embedding")
        for mode in ("ir", "ir_se")
        for depth in ("50", "100", "152")
    },
    **{
        f"{task}_{mode}_50": _face_analysis(mode, "50", task)
        for mode in ("ir", "ir_se")
        for task in ("age", "gender", "race")
    },
}


@cache
def answers_of(name: str) -> Arrays:
    """What a network answers on the reference pixels, from a checkpoint filled by name, as its file names it."""
    reference = REFERENCES[name]
    with torch.no_grad():
        answers = reference.network()(pixels(reference.num_images, reference.config.backbone.side_px))
    return {key: value.numpy() for key, value in _named(name, reference.config.tasks[0], answers).items()}


def _named(name: str, task: str, answers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if name in ("swinface", "tmlfa"):
        return _multi_task(answers)
    if name.startswith("faer"):
        return {"feature": answers["feature"], "logits": answers[task]}
    if task == "age":
        return {name: torch.sigmoid(answers[task])}
    return {name: F.normalize(answers[task], dim=1) if task == "embedding" else F.log_softmax(answers[task], 1)}


def _multi_task(answers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    columns = dict(zip(ATTRIBUTES, answers["attributes"].unbind(1), strict=True))
    attributes = {name: column for name, column in columns.items() if name != "male"}
    return {
        "Age": answers["age"][:, None],
        "Gender": answers["gender"],
        "Expression": answers["expression"],
        "Recognition": answers["embedding"],
        **{_OTHER_NAMES.get(name, name.replace("_", " ").title()): column for name, column in attributes.items()},
    }

"""The multi-task network: one trunk pass, a recognition subnet and task groups, all outputs raw.

Holds the assembly. Never normalises pixels and never turns logits into probabilities (see `model.analyzer`); never
holds what only training needs. Shape suffixes: B batch; C channels; H, W pixels; D embedding length; R ranks.
"""

import torch
from torch import Tensor, nn

from model.heads import FEATURE, build_head
from model.network_config import NetworkConfig
from model.recognition import build_recognition
from model.runtime.labels import ATTRIBUTES
from model.trunks import build_trunk


class MultiTaskNetwork(nn.Module):
    """A network of any configuration: SwinFace's (arXiv 2308.11509), FAER's, face_analysis_pytorch's, or another.

    Attributes:
        config: what it was built from.
        backbone: the trunk.
        recognition: the recognition subnet, or None.
        groups: the head that answers the task groups.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_trunk(config.backbone)
        self.recognition = build_recognition(config)
        self.groups = build_head(config)
        if config.linear_std is not None:
            for part in (self.recognition, self.groups):
                if part is not None:
                    _initialise_linear(part, config.linear_std)

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Answers every task of the configuration.

        Args:
            images_BCHW: float (B, 3, side_px, side_px), RGB, normalised as `config.pixels` says.

        Returns:
            `embedding` (B, D) not normalised; `age` (B,) years, or (B, R) logits: of being older than each rank, or of
            each year;
            `gender` (B, 2) logits [female, male]; `expression` (B, 7) logits; `attributes` in CelebA's order, (B, 40,
            2) logits [no, yes] or (B, 40) logits of yes; `race` (B, 5) logits. The head `context` adds `feature` (B,
            C), the vector that its linear layer reads, before its norm.
        """
        maps_BCHW = self.backbone(images_BCHW)
        embedding_BD: Tensor | None = None if self.recognition is None else self.recognition(maps_BCHW[-1])
        outputs = self.groups(maps_BCHW, embedding_BD)
        answers = self._answers(outputs)
        if embedding_BD is None or not self.config.answers_embedding:
            return answers
        return {"embedding": embedding_BD, **answers}

    def _answers(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        answers: dict[str, Tensor] = {
            task: outputs[task] for task in ("expression", "gender", "race", FEATURE) if task in outputs
        }
        if "age" in outputs:
            answers["age"] = self._age(outputs["age"])
        if "attributes" in self.config.tasks:
            answers["attributes"] = self._attributes(outputs)
        return answers

    def _age(self, out: Tensor) -> Tensor:
        if self.config.age_form != "years":
            return out
        return self.config.age_offset_years + self.config.age_scale_years * out.squeeze(1)

    def _attributes(self, outputs: dict[str, Tensor]) -> Tensor:
        single = self.config.attribute_form == "single"
        if "male" in outputs:
            male = outputs["male"]
        else:
            # SwinFace has no output for the column `male`: its gender pair [female, male] reads as [no, yes].
            gender_B2 = outputs["gender"]
            male = gender_B2[:, 1:] - gender_B2[:, :1] if single else gender_B2
        columns = [male if name == "male" else outputs[name] for name in ATTRIBUTES]
        return torch.cat(columns, 1) if single else torch.stack(columns, 1)

    def set_gradient_checkpointing(self, on: bool) -> None:
        """In training, trade time for memory: compute each of the trunk's blocks again in the backward pass."""
        self.backbone.gradient_checkpointing = on

    def num_parameters(self) -> int:
        """How many numbers are learnt."""
        return sum(parameter.numel() for parameter in self.parameters())


def _initialise_linear(part: nn.Module, std: float) -> None:
    for module in part.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

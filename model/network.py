"""The multi-task network: one backbone pass, a recognition subnet and task groups, all outputs raw.

Holds the assembly. Never normalises pixels and never turns logits into probabilities (see `model.analyzer`); never
holds what only training needs. Shape suffixes: B batch; C channels; H, W pixels; D embedding length.
"""

import torch
from torch import Tensor, nn

from model.config import NetworkConfig
from model.fusion import pool_to_last_grid
from model.heads import GroupHead, Recognition
from model.runtime.labels import ATTRIBUTES
from model.swin import SwinBackbone


class MultiTaskNetwork(nn.Module):
    """SwinFace's network (arXiv 2308.11509) at any size.

    Attributes:
        config: what it was built from.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = SwinBackbone(config.backbone)
        self.recognition = (
            None
            if config.embedding_dim is None
            else Recognition(
                config.backbone.dims[-1],
                config.backbone.grids[-1],
                config.embedding_dim,
                config.recognition_maps,
                config.batch_norm_eps,
            )
        )
        self.groups = nn.ModuleDict({group.name: GroupHead(config, group) for group in config.groups})

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """Answers every task of the configuration.

        Args:
            images_BCHW: float (B, 3, side_px, side_px), RGB, `(x / 255 - 0.5) / 0.5`.

        Returns:
            `embedding` (B, D) not normalised, `age` (B,) years, `gender` (B, 2) logits [female, male], `expression`
            (B, 7) logits, `attributes` (B, 40, 2) logits [no, yes] in CelebA's order, `race` (B, 5) logits.
        """
        maps_BCHW = self.backbone(images_BCHW)
        answers = {} if self.recognition is None else {"embedding": self.recognition(maps_BCHW[-1])}
        pooled_BCHW = pool_to_last_grid(maps_BCHW)
        outputs = {name: out for group in self.groups.values() for name, out in group(pooled_BCHW).items()}
        return answers | self._answers(outputs)

    def _answers(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        answers: dict[str, Tensor] = {
            task: outputs[task] for task in ("expression", "gender", "race") if task in outputs
        }
        if "age" in outputs:
            answers["age"] = self.config.age_offset_years + self.config.age_scale_years * outputs["age"].squeeze(1)
        if "attributes" in self.config.tasks:
            # SwinFace has no output for the column `male`: its gender pair [female, male] reads as [no, yes].
            male_B2 = outputs["male"] if "male" in outputs else outputs["gender"]
            columns = [male_B2 if name == "male" else outputs[name] for name in ATTRIBUTES]
            answers["attributes"] = torch.stack(columns, 1)
        return answers

    def num_parameters(self) -> int:
        """How many numbers are learnt."""
        return sum(parameter.numel() for parameter in self.parameters())

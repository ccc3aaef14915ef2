from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.analyzer import Analyzer, normalise
from model.convnext import ConvNeXtBackbone
from model.heads import ContextHead
from model.network import MultiTaskNetwork
from model.network_config import FusionConfig, GroupConfig, NetworkConfig
from model.runtime.labels import ATTRIBUTES
from model.training.explain.aims import Aim, ExplainError, chosen_classes, parse_aim, score
from model.training.explain.gradcam import METHODS, Method, class_activation, default_method, upsampled
from model.trunk_config import ConvNeXtConfig, IResNetConfig
from tests.model.networks import SMALL, TINY

FLAT = NetworkConfig(
    backbone=IResNetConfig(units=(1, 1, 1, 1), widths=(4, 4, 4, 6)),
    groups=(),
    embedding_dim=8,
    recognition="flat",
)
MEAN = NetworkConfig(
    backbone=ConvNeXtConfig(side_px=64, depths=(1, 1, 1, 1), dims=(8, 8, 8, 8), drop_path=0.0),
    groups=(GroupConfig("expression", ("expression",)),),
    embedding_dim=None,
    head="context",
    pixels="imagenet",
)


def _images(num: int, side: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (num, side, side, 3), np.uint8))


def _scored(network: MultiTaskNetwork, images: Tensor, aim: Aim, method: Method, level: int = -1) -> np.ndarray:
    with torch.inference_mode():
        answers = {task: answer.numpy() for task, answer in Analyzer(network)(images).items()}
    classes = torch.from_numpy(chosen_classes(aim, answers, len(images)))
    return class_activation(network, images, lambda raw: score(aim, raw, classes), method, level)


def _by_hand(network: MultiTaskNetwork, images: Tensor, aim: Aim, method: Method, level: int) -> np.ndarray:
    """The formula face by face, with a gradient of the map taken by autograd alone."""
    kept: list[Tensor] = []
    handle = network.backbone.register_forward_hook(lambda _module, _inputs, maps: kept.append(maps[level]))
    maps = []
    for image in images:
        kept.clear()
        raw = network(normalise(image[None], network.config.pixels))
        with torch.inference_mode():
            answers = {task: answer.numpy() for task, answer in Analyzer(network)(image[None]).items()}
        value = score(aim, raw, torch.from_numpy(chosen_classes(aim, answers, 1)))
        (gradient,) = torch.autograd.grad(value.sum(), kept[0])
        activation, slope = kept[0][0].detach().double().numpy(), gradient[0].double().numpy()
        total = np.zeros(activation.shape[1:])
        for channel in range(len(activation)):
            weight = slope[channel].mean() if method == "grad-cam" else slope[channel]
            total += weight * activation[channel]
        maps.append(np.maximum(total, 0))
    handle.remove()
    return np.stack(maps)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [0, -1])
@pytest.mark.parametrize("text", ["age", "expression", "attributes.eyeglasses", "attributes.smiling.no"])
def test_maps_are_those_of_the_formula(text: str, level: int, method: Method) -> None:
    """On a Swin with every head, for several faces at once: weighed channels, summed, cut at zero."""
    torch.manual_seed(0)
    network = MultiTaskNetwork(TINY).eval()
    images = _images(3, 112)
    found = _scored(network, images, parse_aim(text, Analyzer(network).tasks), method, level)
    expected = _by_hand(network, images, parse_aim(text, Analyzer(network).tasks), method, level)
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(expected.max(), 1e-3), rtol=1e-3)
    assert found.dtype == np.float32
    assert found.min() >= 0


@pytest.mark.parametrize("family", SMALL)
def test_every_family_is_explained_for_all_it_answers(family: str) -> None:
    """Swin, ConvNeXt and IR, with logits, pairs, ranks and embeddings: a finite map a face, by the formula."""
    torch.manual_seed(4)
    network = MultiTaskNetwork(SMALL[family]).eval()
    images = _images(2, network.config.backbone.side_px)
    for task in Analyzer(network).tasks:
        aim = parse_aim("attributes.wearing_hat" if task == "attributes" else task, Analyzer(network).tasks)
        method = default_method(network.config)
        found = _scored(network, images, aim, method)
        expected = _by_hand(network, images, aim, method, -1)
        np.testing.assert_allclose(found, expected, atol=1e-5 * max(expected.max(), 1e-3), rtol=1e-3)


@pytest.mark.parametrize("place", [(0, 0), (2, 5), (6, 3)])
def test_a_map_peaks_on_the_only_place_that_counts(place: tuple[int, int]) -> None:
    """An IR network whose embedding is made of one place of the last map alone: the map is zero everywhere else."""
    torch.manual_seed(1)
    network = MultiTaskNetwork(FLAT).eval()
    linear = next(module for module in network.modules() if isinstance(module, nn.Linear))
    weight = linear.weight.detach().reshape(8, 6, 7, 7)
    kept = torch.zeros_like(weight)
    kept[:, :, place[0], place[1]] = weight[:, :, place[0], place[1]]
    with torch.no_grad():
        linear.weight.copy_(kept.reshape(linear.weight.shape))
        assert linear.bias is not None
        linear.bias.zero_()
    image = _images(1, 112)
    found = _scored(network, image, parse_aim("embedding", ("embedding",)), "hires-cam")[0]
    assert np.unravel_index(found.argmax(), found.shape) == place
    found[place] = 0
    assert not found.any()


def _bright_square_network() -> MultiTaskNetwork:
    """FAER's network whose `happiness` is how bright the image is on average, through every layer of the trunk."""
    torch.manual_seed(2)
    network = MultiTaskNetwork(MEAN).eval()
    trunk, head = network.backbone, network.groups
    assert isinstance(trunk, ConvNeXtBackbone)
    assert isinstance(head, ContextHead)
    with torch.no_grad():
        for name, parameter in trunk.named_parameters():
            if name.endswith("gamma"):
                parameter.zero_()  # blocks that change nothing
        first = trunk.stem[0]
        assert isinstance(first, nn.Conv2d)
        first.weight.zero_()
        assert first.bias is not None
        first.bias.zero_()
        first.weight[0], first.weight[1] = 1 / 48, -1 / 48  # brightness, and its opposite for the norm over channels
        for module in trunk.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (2, 2):
                module.weight.copy_(torch.eye(8)[:, :, None, None].expand(8, 8, 2, 2) / 4)
                assert module.bias is not None
                module.bias.zero_()
        for parameter in head.attention.value.parameters():
            parameter.zero_()  # the attention adds nothing
        head.linear.weight.zero_()
        head.linear.weight[3, 0] = 1.0
    return network


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 1)])
def test_a_map_peaks_where_the_answer_comes_from(corner: tuple[int, int], method: Method) -> None:
    """A FAER network that sums brightness, and a black image with one white quarter: the map is that quarter."""
    network = _bright_square_network()
    image = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    rows, columns = slice(32 * corner[0], 32 * corner[0] + 32), slice(32 * corner[1], 32 * corner[1] + 32)
    image[:, rows, columns] = 255
    found = _scored(network, image, parse_aim("expression.happiness", ("expression",)), method)[0]
    expected = np.zeros((2, 2), bool)
    expected[corner] = True
    assert ((found > 0.01 * found.max()) == expected).all()


def test_both_ways_are_one_where_the_head_averages() -> None:
    """With FAER's head without attention each place has the same gradient, so that its mean changes nothing."""
    network = _bright_square_network()
    images = _images(2, 64)
    aim = parse_aim("expression.happiness", ("expression",))
    one, other = (_scored(network, images, aim, method) for method in METHODS)
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)
    assert one.any()


def test_the_method_suits_the_head() -> None:
    """Grad-CAM for FAER, whose head averages; its place-by-place form where a head takes the largest or flattens."""
    assert default_method(MEAN) == "grad-cam"
    assert default_method(TINY) == "hires-cam"
    assert default_method(FLAT) == "hires-cam"


def test_a_level_that_is_not_there_or_does_not_count_is_one_clear_line() -> None:
    """Levels are counted for the reader; an answer that never saw the last map says so."""
    torch.manual_seed(0)
    network = MultiTaskNetwork(TINY).eval()
    aim = parse_aim("age", ("age",))
    with pytest.raises(ExplainError, match="the trunk has 2 levels, 0 to 1; there is no 5"):
        _scored(network, _images(1, 112), aim, "grad-cam", 5)
    local = replace(TINY, fusion=FusionConfig(widths=(4,), reduction=2, features="local"))
    with pytest.raises(ExplainError, match="nothing reads level -1 of the trunk for this answer"):
        _scored(MultiTaskNetwork(local).eval(), _images(1, 112), aim, "grad-cam")


def test_explaining_leaves_the_network_as_it_was() -> None:
    """No hook stays behind, and the answers are the same bit for bit."""
    torch.manual_seed(0)
    network = MultiTaskNetwork(TINY).eval()
    images = _images(2, 112)
    before = {task: answer.detach().clone() for task, answer in Analyzer(network)(images).items()}
    _scored(network, images, parse_aim("attributes.bald", Analyzer(network).tasks), "grad-cam")
    after = Analyzer(network)(images)
    assert all(torch.equal(before[task], after[task]) for task in before)
    assert not network.backbone._forward_hooks
    assert len(ATTRIBUTES) == 40


def test_a_map_is_spread_from_its_lowest_to_its_highest_place() -> None:
    """Bilinear, between 0 and 1; one that is alike everywhere is zero."""
    grown = upsampled(np.array([[1, 1], [1, 3]], np.float32), 8)
    assert grown.shape == (8, 8)
    assert (grown.min(), grown.max(), grown[7, 7]) == (0, 1, 1)
    assert not upsampled(np.full((2, 2), 4, np.float32), 8).any()

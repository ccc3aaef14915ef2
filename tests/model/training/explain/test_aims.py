import numpy as np
import pytest
import torch

from model.runtime.labels import ATTRIBUTES, TASKS
from model.training.explain.aims import Aim, ExplainError, caption, chosen_classes, parse_aim, score

EYEGLASSES = ATTRIBUTES.index("eyeglasses")


@pytest.mark.parametrize(
    ("text", "task", "attribute", "chosen"),
    [
        ("age", "age", None, None),
        ("age.younger", "age", None, 0),
        ("embedding", "embedding", None, None),
        ("expression", "expression", None, None),
        ("Expression.Fear", "expression", None, 1),
        ("gender.male", "gender", None, 1),
        ("race.asian", "race", None, 2),
        ("attributes.eyeglasses", "attributes", EYEGLASSES, None),
        ("attributes.eyeglasses.no", "attributes", EYEGLASSES, 0),
    ],
)
def test_an_aim_is_read_as_it_is_typed(text: str, task: str, attribute: int | None, chosen: int | None) -> None:
    """Task, attribute and class, the class being left to the prediction where none is named."""
    found = parse_aim(text, TASKS)
    assert (found.text, found.task, found.attribute, found.chosen) == (text, task, attribute, chosen)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("agee", "the network answers no task 'agee'; did you mean 'age'?"),
        ("height", "the network answers no task 'height'; it answers embedding, expression, age"),
        ("attributes", "one by one: attributes.eyeglasses"),
        ("attributes.eyeglases", "no attribute is named 'eyeglases'; did you mean 'eyeglasses'?"),
        ("attributes.eyeglasses.maybe", "no class of attributes is named 'maybe'; there are no, yes"),
        ("expression.hapiness", "did you mean 'happiness'?"),
        ("embedding.male", "embedding has no classes"),
        ("gender.male.yes", "says more than task, attribute and class"),
        ("", "the network answers no task ''"),
    ],
)
def test_a_mistyped_aim_is_answered_with_the_nearest_name(text: str, words: str) -> None:
    """One line that names what is not known, and what is."""
    with pytest.raises(ExplainError) as error:
        parse_aim(text, TASKS)
    assert words in str(error.value)


def test_a_task_that_the_network_lacks_is_no_aim() -> None:
    """Race is no answer of a network without it."""
    with pytest.raises(ExplainError, match="no task 'race'; it answers age, gender"):
        parse_aim("race", ("age", "gender"))


def test_each_face_is_explained_for_its_own_predicted_class() -> None:
    """Two faces of two expressions, one with and one without eyeglasses; a class that is asked for holds for all."""
    attributes = np.full((2, 40), 0.4, np.float32)
    attributes[1, EYEGLASSES] = 0.9
    expression = np.eye(7, dtype=np.float32)[[3, 5]]
    answers = {"expression": expression, "attributes": attributes, "age": np.array([3, 70], np.float32)}
    chosen = {
        text: chosen_classes(parse_aim(text, TASKS), answers, 2).tolist()
        for text in ("expression", "attributes.eyeglasses", "attributes.eyeglasses.yes", "age", "age.younger")
    }
    assert chosen == {
        "expression": [3, 5],
        "attributes.eyeglasses": [0, 1],
        "attributes.eyeglasses.yes": [1, 1],
        "age": [1, 1],
        "age.younger": [0, 0],
    }


def test_a_score_rises_with_the_answer_in_every_form() -> None:
    """Logits of classes, pairs and single logits of attributes, years and ranks, and both directions of each."""
    single = torch.zeros(2, 40)
    single[:, EYEGLASSES] = torch.tensor([2.0, -3.0])
    pairs = torch.stack([torch.ones(2, 40), 1 + single], 2)
    classes = torch.tensor([1, 0])
    aim = parse_aim("attributes.eyeglasses", TASKS)
    assert score(aim, {"attributes": single}, classes).tolist() == [2, 3]
    assert score(aim, {"attributes": pairs}, classes).tolist() == [2, 3]
    logits = torch.arange(14.0).reshape(2, 7)
    assert score(parse_aim("expression", TASKS), {"expression": logits}, classes).tolist() == [1, 7]
    years = torch.tensor([30.0, 40.0])
    assert score(parse_aim("age", TASKS), {"age": years}, classes).tolist() == [30, -40]
    ranks = torch.full((2, 100), -50.0)
    ranks[:, :25] = 50.0
    assert score(parse_aim("age", TASKS), {"age": ranks}, classes).tolist() == pytest.approx([25, -25])


def test_an_embedding_is_scored_by_its_length_or_its_likeness() -> None:
    """(3, 4) is five long, and its cosine to (1, 0) is 0.6; the direction itself has no gradient."""
    aim = parse_aim("embedding", TASKS)
    raw = torch.tensor([[3.0, 4.0]], requires_grad=True)
    found = score(aim, {"embedding": raw}, torch.zeros(1, dtype=torch.long))
    assert found.tolist() == pytest.approx([5])
    (gradient,) = torch.autograd.grad(found.sum(), raw)
    assert gradient[0].tolist() == pytest.approx([0.6, 0.8])
    like = score(aim, {"embedding": raw}, torch.zeros(1, dtype=torch.long), torch.tensor([1.0, 0.0]))
    assert like.tolist() == pytest.approx([0.6])


def test_captions_say_class_and_probability_or_years() -> None:
    """As a person reads them, for the class that is explained."""
    answers = {
        "attributes": np.full((1, 40), 0.25, np.float32),
        "age": np.array([31.44], np.float32),
        "gender": np.array([[0.9, 0.1]], np.float32),
        "embedding": np.array([[0.6, 0.8]], np.float32),
    }

    def said(text: str, chosen: int, reference: list[float] | None = None) -> str:
        vector = None if reference is None else np.array(reference, np.float32)
        return caption(parse_aim(text, TASKS), answers, 0, chosen, vector)

    assert said("attributes.5_o_clock_shadow", 0) == "5 o clock shadow: no (75 %)"
    assert said("attributes.eyeglasses", 1) == "eyeglasses: yes (25 %)"
    assert said("age", 1) == "age: older (31.4 years)"
    assert said("gender", 1) == "gender: male (10 %)"
    assert said("embedding", 0) == "embedding: its length"
    assert said("embedding", 0, [1, 0]) == "similarity: 0.60"
    assert Aim("age", "age").chosen is None

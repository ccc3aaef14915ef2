"""What the end-to-end tests share: the real service, as a process of its own, with the pack that ships.

Never a fake and never a pack made for tests: what is held here is what a newcomer gets.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from service.client import Answer, Service, free_port, serving
from service.schemas import AnalyzeAnswer, ImageAnswer, Problem

NUM_FACES: Final = 6


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """The service, ready; it must stop in order when the tests are done."""
    with serving(free_port()) as running:
        yield running


@dataclass(frozen=True)
class Caller:
    """Asks the running service, and afterwards sees to it that it still answers a good request."""

    service: Service
    good: bytes

    def analyze(self, *files: bytes, query: str = "") -> Answer:
        """POSTs files to /analyze as multipart."""
        named = [("files", f"picture-{number}.jpg", data) for number, data in enumerate(files)]
        return self.service.post_files(f"/analyze{query}", named)

    def faces(self, data: bytes) -> ImageAnswer:
        """What one good picture is answered with."""
        answer = self.analyze(data)
        assert answer.status == 200, answer.body
        return AnalyzeAnswer.model_validate_json(answer.body).images[0]

    def still_answers(self) -> bool:
        """Whether the next good request is answered rightly."""
        return len(self.faces(self.good).faces) == NUM_FACES


@pytest.fixture
def caller(service: Service, six_faces: bytes) -> Iterator[Caller]:
    """A caller; the test fails if the service does not answer a good request after it."""
    asking = Caller(service, six_faces)
    yield asking
    assert asking.still_answers()


def problem_of(answer: Answer, status: int) -> Problem:
    """The answer's problem, which is of that status and gives nothing of the inside away."""
    assert answer.status == status, (answer.status, answer.body[:500])
    assert answer.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(answer.body)
    assert problem.status == status
    assert problem.request_id == answer.headers["x-request-id"]
    text = answer.body.decode()
    assert not any(word in text for word in ("Traceback", "site-packages", ".py", "PIL", "pydantic", "/work", "/home"))
    return problem

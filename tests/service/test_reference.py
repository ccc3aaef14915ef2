"""The reference: what `/openapi.json` says is what the service does."""

from typing import Any

from service.errors import KINDS
from service.schemas import QUERIES
from tests.packs import Square, photo
from tests.service.serving import Served

GOOD = photo(Square(16, 16))


def schema_of(served: Served) -> dict[str, Any]:
    schema: dict[str, Any] = served.client.get("/openapi.json").json()
    return schema


def references(node: object) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(references, node.values()))
    return set().union(*map(references, node)) if isinstance(node, list) else set()


def test_every_route_is_described(served: Served) -> None:
    """The reference holds every route that answers data, with its method."""
    paths = {path: set(item) for path, item in schema_of(served)["paths"].items()}
    assert paths == {
        "/analyze": {"post"},
        "/verify": {"post"},
        "/search": {"post"},
        "/model": {"get"},
        "/livez": {"get"},
        "/readyz": {"get"},
        "/metrics": {"get"},
    }


def test_every_reference_resolves(served: Served) -> None:
    """No schema points at one that is not there."""
    schema = schema_of(served)
    for reference in references(schema):
        assert reference.removeprefix("#/components/schemas/") in schema["components"]["schemas"], reference


def test_queries_are_described_name_by_name(served: Served) -> None:
    """Each query parameter is described, and no other."""
    for path, model in QUERIES.items():
        parameters = schema_of(served)["paths"][path]["post"]["parameters"]
        assert {parameter["name"] for parameter in parameters} == set(model.model_fields)
        assert all(parameter["in"] == "query" and parameter["description"] for parameter in parameters)


def test_bodies_are_described_type_by_type(served: Served) -> None:
    """Each body is described under each content type that the route takes."""
    paths = schema_of(served)["paths"]
    bodies = {path: set(paths[path]["post"]["requestBody"]["content"]) for path in QUERIES}
    assert bodies == {
        "/analyze": {"multipart/form-data", "image/*", "application/json"},
        "/verify": {"multipart/form-data", "application/json"},
        "/search": {"application/json"},
    }


def test_refusals_are_described_as_problems(served: Served) -> None:
    """Each status that a working route may refuse with is described, as application/problem+json."""
    expected = {str(kind.status) for kind in KINDS.values()} - {"404", "405"}
    for path in QUERIES:
        responses = schema_of(served)["paths"][path]["post"]["responses"]
        assert set(responses) == expected | {"200"}
        for status in expected:
            assert set(responses[status]["content"]) == {"application/problem+json"}


def test_description_and_refusals_agree(served: Served) -> None:
    """Real refusals have a status that the reference describes."""
    responses = schema_of(served)["paths"]["/analyze"]["post"]["responses"]
    for content, query in ((b"", ""), (b"text", ""), (GOOD[:90], ""), (GOOD, "?x=1")):
        answer = served.client.post(f"/analyze{query}", content=content, headers={"content-type": "image/png"})
        assert str(answer.status_code) in responses


def test_one_table_covers_every_error() -> None:
    """Every class of refusal has its row in the one table, each type is its own, and titles say what statuses mean."""
    from service import errors

    classes = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.ServiceError) and value is not errors.ServiceError
    }
    assert classes == set(KINDS)
    assert len({kind.uri for kind in KINDS.values()}) == len(KINDS)
    assert all(400 <= kind.status < 600 and kind.title for kind in KINDS.values())

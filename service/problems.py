"""Problems: every refusal as RFC 9457 `application/problem+json`, from the one table in `service.errors`.

Holds how the framework's own refusals (no route, wrong method, a query that does not validate) become this service's.
Never repeats what a library said.
"""

from typing import Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.answers import dump
from service.arrival import arrival_of
from service.errors import (
    BadRequest,
    Disconnected,
    Internal,
    InvalidOption,
    MethodNotAllowed,
    NotFound,
    ServiceError,
    UnknownOption,
    forget_frames,
)
from service.names import nearest
from service.schemas import QUERIES

MEDIA_TYPE: Final = "application/problem+json"
DISCONNECTED_STATUS: Final = 499
_RULES: Final = {  # by pydantic's type of error, whose own message is a library's
    "bool_parsing": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "literal_error": "must be {expected}",
    "greater_than": "must be over {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be under {lt:g}",
    "less_than_equal": "must be at most {le:g}",
}


def problem_response(error: ServiceError, request_id: str) -> Response:
    """A refusal as an answer."""
    response = Response(problem_body(error, request_id), error.status, error.headers, MEDIA_TYPE)
    response.headers["x-mien-problem"] = error.kind.slug
    return response


def problem_body(error: ServiceError, request_id: str) -> bytes:
    """A refusal as JSON, which ends with the request's id."""
    kind = error.kind
    return dump(
        {
            "type": kind.uri,
            "title": kind.title,
            "status": kind.status,
            "detail": error.detail,
            "request_id": request_id,
        }
    )


def unforeseen() -> ServiceError:
    """What is said of a fault that nobody foresaw: nothing."""
    return Internal("The service failed on this request.")


def response_to_nobody() -> Response:
    """For a caller that hung up: the server drops what is sent to a connection that is gone, and the door counts it."""
    return Response(status_code=DISCONNECTED_STATUS)


def handle_problems(app: FastAPI) -> None:
    """Teaches an app to answer every refusal as a problem."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(Disconnected, _disconnected)
    app.add_exception_handler(Exception, _unforeseen)  # the framework answers so, and raises it on to the door


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    forget_frames(error)
    return problem_response(error, arrival_of(request).request_id)


async def _unforeseen(request: Request, _error: Exception) -> Response:
    return problem_response(unforeseen(), arrival_of(request).request_id)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusals: dict[int, ServiceError] = {
        404: NotFound("There is nothing at this path."),
        405: MethodNotAllowed(
            f"This path does not take {request.method[:20]}.", (error.headers or {}).get("Allow", "GET")
        ),
    }
    refusal = refusals.get(error.status_code, BadRequest("The request is malformed."))
    return problem_response(refusal, arrival_of(request).request_id)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem_response(_of_query(request, error), arrival_of(request).request_id)


def _of_query(request: Request, error: RequestValidationError) -> ServiceError:
    first = error.errors()[0]
    name = str(first["loc"][-1])
    if first["type"] == "extra_forbidden":
        known = QUERIES[request.scope["route"].path].model_fields
        return UnknownOption(f"Unknown query parameter {nearest(name, known)}")
    rule = _RULES.get(first["type"], "has a value that it cannot have")
    return InvalidOption(f"Query parameter {name!r} {rule.format(**first.get('ctx', {}))}.")


async def _disconnected(_request: Request, error: Exception) -> Response:
    forget_frames(error)
    return response_to_nobody()

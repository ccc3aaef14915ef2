"""A request by its name, as `mien bench` names it, made of the photograph of six faces."""

import click
from photographs import six_faces

from service.bench.requests import Request, make_requests
from service.onnx_engine import open_engine


def named_request(pack: str, name: str) -> Request:
    """The request of that name to a pack's service.

    Raises:
        click.ClickException: if none is named so.
    """
    found = make_requests(six_faces(), open_engine(pack), [name])
    if not found:
        raise click.ClickException(f"no request is named {name!r}")
    return found[0]

"""The fuzz: schemathesis throws generated requests at the real service, by the service's own OpenAPI description.

Fails on a server error, on an answer that the description does not state, and if the next good request is not answered.
Never talks to a service that it did not start.
"""

import subprocess
import sys
from pathlib import Path

import click
from photographs import six_faces

from service.client import free_port, serving

CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")


@click.command(help=__doc__)
@click.option("--seconds", "num_seconds", type=click.IntRange(10, 3600), default=120, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(num_seconds: int, seed: int) -> None:
    """Runs the fuzz."""
    program = Path(sys.executable).with_name("schemathesis")
    options = ["--checks", ",".join(CHECKS), "--max-time", str(num_seconds), "--seed", str(seed), "--workers", "2"]
    options += ["--continue-on-failure", "--warnings", "off"]
    with serving(free_port()) as service:
        done = subprocess.run(  # noqa: S603 - an installed program, on a service of our own
            [str(program), "run", f"{service.url}openapi.json", *options], check=False
        )
        after = service.post_files("/analyze", [("files", "t1.jpg", six_faces())])
    if after.status != 200:
        raise click.ClickException(f"the next good request was answered {after.status}")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()

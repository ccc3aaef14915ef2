"""The command `mien serve`.

Holds its options and what it prints. Never wires the service itself (see `service.app`, `service.supervisor`).
"""

import sys

import click

from model.runtime.pack import PackError
from service.app import serve
from service.errors import StartupError
from service.opening import pack_option, settings_with
from service.supervisor import supervise


@click.command("serve")
@click.option("--host", help="Address to listen on.  [default: MIEN_HOST, or 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 lets the system choose.  [default: MIEN_PORT, or 8000]")
@pack_option
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where the graphs run.  [default: cpu]")
@click.option("--workers", type=int, help="Processes behind the port.  [default: MIEN_WORKERS, or 1]")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="The least that is logged.")
def serve_command(
    host: str | None, port: int | None, pack: str | None, device: str | None, workers: int | None, log_level: str | None
) -> None:
    """Serve a pack over HTTP until Ctrl-C or SIGTERM.

    The page is at /, the reference at /docs, metrics at /metrics. Every other setting is an environment variable that
    begins with MIEN_ (MIEN_MAX_FILES, MIEN_API_KEYS and so on); the README lists them. Options win over variables.

    \b
    Examples:
      mien serve
      mien serve --port 9000 --pack path/to/my-pack
      mien serve --device cuda --workers 8
    """  # noqa: D301 - click needs the control character
    settings = settings_with(host=host, port=port, pack=pack, device=device, workers=workers, log_level=log_level)

    def announce(url: str) -> None:
        click.echo(f"serving {settings.pack} at {url}", err=True)

    try:
        if settings.workers == 1:
            serve(settings, announce)
        elif not supervise(settings, announce):
            sys.exit(1)
    except (StartupError, PackError) as error:
        raise click.ClickException(str(error)) from None

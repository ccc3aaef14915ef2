"""Where the offline API reference's files are: Swagger UI, out of the installed `fastapi-offline`.

Holds the search alone. Never imports that package, whose code is not needed, and never names a host to load from.
"""

import importlib.util
from pathlib import Path
from typing import Final

from service.errors import StartupError

SCRIPT: Final = "swagger-ui-bundle.js"
STYLE: Final = "swagger-ui.css"
_PACKAGE: Final = "fastapi_offline"


def docs_dir() -> Path:
    """The folder that holds `SCRIPT` and `STYLE` of Swagger UI 5, which renders OpenAPI 3.1.

    Raises:
        StartupError: if the package is not installed, or no longer carries the two files.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / "static"
        if (folder / SCRIPT).is_file() and (folder / STYLE).is_file():
            return folder
    raise StartupError("the API reference's files are missing: install fastapi-offline, which carries Swagger UI")

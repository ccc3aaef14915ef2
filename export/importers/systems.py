"""The published systems: what a pack says of weights that came from one, and under which terms by default.

Holds names, papers, licences of the published code and the sets that each system's authors say they trained on. Never
says what a particular file was trained on: nobody can tell that from its numbers.
"""

from dataclasses import dataclass
from typing import Final, Literal

from export.importers.packing import Terms

SystemName = Literal["swinface", "tmlfa", "faer", "face-analysis"]


@dataclass(frozen=True, slots=True)
class System:
    """A published system.

    Attributes:
        title: its name.
        reference: where it is described.
        code_license: of its published code; None where that names none.
        trained_on: the sets that its authors say they used.
    """

    title: str
    reference: str
    code_license: str | None
    trained_on: str

    def terms(self) -> Terms:
        """The terms of its weights where a person states no others."""
        if self.code_license is None:
            return Terms(
                "LicenseRef-Not-Stated",
                f"One's own research only, until its authors allow more: {self.title}'s published code names no "
                f"licence, and weights carry the terms of what they were trained on. {self._sets()}",
            )
        return Terms(
            "LicenseRef-NonCommercial-Research",
            f"Non-commercial research only, unless the weights' owners allow more: {self.title}'s published code is "
            f"under the {self.code_license} licence, but weights carry the terms of what they were trained on. "
            f"{self._sets()}",
        )

    def origin(self, source: str, note: str = "") -> str:
        """Whose weights a file holds, for the manifest and the card."""
        return f"{self.title} ({self.reference}), weights of {source}{note}. {self._sets()}"

    def _sets(self) -> str:
        return f"Its authors trained on {self.trained_on}; what this file was trained on is not recorded in it."


SYSTEMS: Final[dict[SystemName, System]] = {
    "swinface": System(
        "SwinFace",
        "arXiv 2308.11509",
        "MIT",
        "MS1MV2, IMDB-WIKI, Adience, MORPH, CelebA, RAF-DB and AffectNet",
    ),
    "tmlfa": System("TMLFA", "multi-level fusion and attention", None, "MS-Celeb-1M, IMDB-WIKI, CelebA and RAF-DB"),
    "faer": System("FAER", "contextual channel attention", None, "CelebA, RAF-DB and AffectNet"),
    "face-analysis": System(
        "face_analysis_pytorch", "IR and IR-SE ResNets", "MIT", "sets that they do not name beside the weights"
    ),
}

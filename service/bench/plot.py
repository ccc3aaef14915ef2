"""The plot: mien's images a second by each opponent's, row by row, least to most. The one door to matplotlib here.

Imported only where a plot is drawn: matplotlib comes with the extra `bench`. Never draws what was not measured.
"""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from service.bench.results import Report


def draw(report: Report, target: Path) -> None:
    """Writes the picture, in the format that its name ends in."""
    mpl.rcParams["svg.hashsalt"] = "mien"  # the same report gives the same file
    rows = list(dict.fromkeys((row.request, row.num_clients) for duel in report.duels.values() for row in duel.rows))
    figure = Figure(figsize=(9, 2 + 0.28 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for shift, (name, duel) in enumerate(report.duels.items()):
        places = [rows.index((row.request, row.num_clients)) + 0.13 * shift for row in duel.rows]
        medians = [row.ratio.median for row in duel.rows]
        below = [row.ratio.median - row.ratio.minimum for row in duel.rows]
        above = [row.ratio.maximum - row.ratio.median for row in duel.rows]
        axes.errorbar(medians, places, xerr=(below, above), fmt="o", markersize=4, capsize=2, label=name)
    axes.axvline(1.0, color="grey", linewidth=1)
    axes.set_yticks(range(len(rows)), [f"{request}, {num_clients}" for request, num_clients in rows])
    axes.invert_yaxis()
    axes.set_xlabel("mien's images a second by the opponent's (median, least to most)")
    axes.set_ylabel("request, clients")
    axes.legend(loc="best")
    figure.savefig(target, dpi=110, metadata={"Date": None} if target.suffix == ".svg" else None)

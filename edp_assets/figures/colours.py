"""The colours of all figures: Okabe and Ito's, which colour-blind readers can tell apart, and greys."""

from __future__ import annotations

BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7",
)  # fmt: skip
INK, GREY, PALE = "#222222", "#8C8C8C", "#D9D9D9"
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, "#7A5195", "#8A6D1D", "#666666", "#1B3A57")

ON_BOTH = (
    BLUE, VERMILION, GREEN, "#C2599A", "#8A6D1D", "#8E63C9", "#1E8FA8", "#D6334B", "#6E8B1A",
)  # fmt: skip
OTHER = "#848484"
"""The colours of points on a page, light or dark: each is told from either ground, three to one, as drawn."""
ON_BOTH_ALPHA = 0.9
"""How opaque they are at least: any fainter, and some are lost on one of the grounds."""

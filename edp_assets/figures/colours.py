"""The colours of all figures: Okabe and Ito's, which colour-blind readers can tell apart, and greys."""

from __future__ import annotations

BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7",
)  # fmt: skip
INK, GREY, PALE = "#222222", "#8C8C8C", "#D9D9D9"
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, "#7A5195", "#8A6D1D", "#666666", "#1B3A57")

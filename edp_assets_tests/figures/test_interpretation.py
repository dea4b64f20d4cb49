"""Occlusion maps: one picture a slice and its map, at one scale, nothing coloured where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from edp_assets.figures.interpretation import occlusion_maps
from edp_assets.figures.render import to_png


def test_occlusion_maps__one_scale_for_all_and_no_colour_outside_the_organ() -> None:
    maps = [np.array([[0.0, 1.0], [0.0, -2.0]]), np.zeros((2, 2))]
    fig = occlusion_maps([np.full((6, 6), 9, np.uint8)] * 2, maps, ["least", "most"], "liver")
    drawn = [ax.images[-1] for ax in fig.axes[2:4]]
    assert [image.get_clim() for image in drawn] == [(-2, 2), (-2, 2)]
    assert np.ma.getmaskarray(drawn[0].get_array()).tolist() == [[True, False], [True, False]]
    assert drawn[0].get_extent() == [-0.5, 5.5, -0.5, 5.5]
    assert to_png(fig).startswith(b"\x89PNG")


def test_occlusion_maps__a_bar_says_what_the_colours_mean() -> None:
    fig = occlusion_maps([np.full((6, 6), 9, np.uint8)], [np.array([[0.5, -2.0]])], ["most"])
    (bar,) = fig.axes[2:]
    assert bar.get_ylabel() == "less affected with it hidden (red),\nmore affected (blue), SD of the score"
    assert bar.get_ylim() == (-2, 2)


def test_occlusion_maps__bad_input_says_what_was_wanted() -> None:
    with pytest.raises(ValueError, match="as many slices, maps and labels, and one at least; 0, 0, 0"):
        occlusion_maps([], [], [])

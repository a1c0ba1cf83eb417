import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_initprune import plots


def record(method, sparsity, seed, test_error):
    return {
        "method": method,
        "sparsity": sparsity,
        "seed": seed,
        "test_error": test_error,
    }


RECORDS = [
    record("dense", 0.0, 0, 0.01),
    record("dense", 0.0, 1, 0.03),
    record("random", 0.9, 0, 0.04),
    record("random", 0.9, 1, 0.06),
    record("random", 0.98, 0, 0.08),
    record("brand_new", 0.9, 0, 0.05),
]


def lines(axis):
    return {c.get_label(): c.lines[0] for c in axis.containers}


def test_errors_are_shown_as_means_over_seeds_in_percent():
    axis = plots.error_against_sparsity(RECORDS)
    np.testing.assert_allclose(lines(axis)["Random"].get_ydata(orig=False), [5.0, 8.0])
    assert axis.get_ylabel() == "Test error (%)"


def test_the_sparsities_of_the_records_are_the_ticks():
    axis = plots.error_against_sparsity(RECORDS)
    axis.figure.draw_without_rendering()
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["98 %", "90 %"]
    left, right = axis.get_xlim()
    assert left > right  # Density falls from left to right, so sparsity rises.


def test_intervals_are_those_of_student():
    axis = plots.error_against_sparsity(RECORDS)
    (random,) = (c for c in axis.containers if c.get_label() == "Random")
    (low, high), single = (bar[:, 1] for bar in random.lines[2][0].get_segments())
    # Two seeds, 4 % and 6 %: t(0.975, 1) * sqrt(2) / sqrt(2) = 12.706.
    assert (high - low) / 2 == pytest.approx(12.706, abs=1e-3)
    assert single[0] == single[1]  # One seed has no interval.


def test_dense_is_a_reference_line_and_not_a_point():
    axis = plots.error_against_sparsity(RECORDS)
    legend = [text.get_text() for text in axis.get_legend().get_texts()]
    assert set(legend) == {"Dense", "Random", "Brand new"}
    assert "Dense" not in lines(axis)
    assert any(list(line.get_ydata()) == [2.0, 2.0] for line in axis.lines)


def test_errors_that_lie_far_apart_are_on_a_logarithmic_scale():
    assert plots.error_against_sparsity(RECORDS).get_yscale() == "linear"
    collapsed = [*RECORDS, record("random", 0.99, 0, 0.9)]
    assert plots.error_against_sparsity(collapsed).get_yscale() == "log"
    perfect = [*collapsed, record("brand_new", 0.98, 0, 0.0)]
    assert plots.error_against_sparsity(perfect).get_yscale() == "linear"


def test_a_comparison_of_dense_runs_alone_can_be_drawn():
    axis = plots.error_against_sparsity(RECORDS[:2])
    axis.figure.draw_without_rendering()


def test_reconstruction_errors_have_their_own_scale():
    runs = [{"method": "random", "sparsity": 0.9, "seed": 0, "test_mse": 0.016}]
    axis = plots.error_against_sparsity(runs)
    np.testing.assert_allclose(lines(axis)["Random"].get_ydata(orig=False), [16.0])


def test_records_without_a_common_measure_are_refused():
    with pytest.raises(ValueError, match="test_error"):
        plots.error_against_sparsity([*RECORDS, {"method": "random", "test_mse": 1}])
    with pytest.raises(ValueError, match="0 records"):
        plots.error_against_sparsity([])


def test_figures_leave_matplotlib_as_it_was_and_use_the_given_axis(tmp_path):
    before = dict(mpl.rcParams)
    axis = Figure().subplots()
    assert plots.error_against_sparsity(RECORDS, axis) is axis
    axis.figure.savefig(tmp_path / "figure.png")
    assert dict(mpl.rcParams) == before


def test_bars_show_the_density_of_every_layer():
    rows = [
        {"path": "a", "parameters": 200, "kept": 10, "effective": 5},
        {"path": "b", "parameters": 10, "kept": 10, "effective": 10},
    ]
    axis = plots.density_per_layer(rows)
    kept, effective = ([bar.get_width() for bar in c] for c in axis.containers)
    assert (kept, effective) == ([5.0, 100.0], [2.5, 100.0])
    with pytest.raises(ValueError, match="rows"):
        plots.density_per_layer([])


def test_mask_images_put_every_unit_in_its_frame():
    mask = np.array([[1, 0], [0, 0], [0, 1], [0, 1], [1, 0], [0, 0]])
    axis = plots.mask_images(mask, (2, 3, 1), columns=2)
    expected = [
        [2, 2, 2, 2, 2, 2, 2, 2, 2],
        [2, 1, 0, 0, 2, 0, 0, 1, 2],
        [2, 0, 1, 0, 2, 1, 0, 0, 2],
        [2, 2, 2, 2, 2, 2, 2, 2, 2],
    ]
    np.testing.assert_array_equal(axis.images[0].get_array(), expected)


def test_mask_images_refuse_a_mask_of_another_image():
    with pytest.raises(ValueError, match="shape"):
        plots.mask_images(np.ones((5, 2)), (2, 3))
    with pytest.raises(ValueError, match="units"):
        plots.mask_images(np.ones((6, 2)), (2, 3), units=[2])

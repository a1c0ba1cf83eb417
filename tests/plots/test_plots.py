import keras
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_initprune import plots, report
from keras_initprune.arrays.selection import selection_record
from keras_initprune.lab.runs.methods import METHODS
from keras_initprune.plots.style import BLACK, METHOD_STYLES, method_styles


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


def half_widths(records):
    axis = plots.error_against_sparsity(records)
    (random,) = (c for c in axis.containers if c.get_label() == "Random")
    segments = random.lines[2][0].get_segments()
    return [(segment[1, 1] - segment[0, 1]) / 2 for segment in segments]


def test_intervals_are_those_of_student():
    # Three seeds, 4 %, 5 % and 6 %: t(0.975, 2) / sqrt(3) = 2.484; one has no interval.
    three = [*RECORDS, record("random", 0.9, 2, 0.05)]
    assert half_widths(three) == pytest.approx([2.484, 0], abs=1e-3)
    # That of two would hide all else.
    assert half_widths(RECORDS) == [0, 0]


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


ROWS = [
    {"path": "a", "parameters": 200, "kept": 10, "effective": 5},
    {"path": "b", "parameters": 10, "kept": 10, "effective": 10},
]


def test_bars_show_the_density_of_every_layer():
    axis = plots.density_per_layer(ROWS)
    kept, effective = ([bar.get_width() for bar in c] for c in axis.containers)
    assert (kept, effective) == ([5.0, 100.0], [2.5, 100.0])
    with pytest.raises(ValueError, match="rows"):
        plots.density_per_layer([])
    for wrong in (None, 3, "rows", [3], [{"path": "a"}], {"path": "a"}):
        with pytest.raises(ValueError, match="`rows` must be what"):
            plots.density_per_layer(wrong)


def test_density_per_layer_takes_a_report():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    counts = report(model)
    axis, other = map(plots.density_per_layer, (counts, counts.as_dict()["rows"]))
    assert [bar.get_width() for bar in axis.patches] == [100]
    assert axis.get_yticklabels()[0].get_text() == counts.rows[0].path
    assert len(axis.texts) == len(other.texts)


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


def test_every_method_has_a_look_of_its_own_which_is_the_same_in_every_figure():
    assert set(METHOD_STYLES) == set(METHODS) - {"dense"}
    looks = [(s.marker, s.colour, s.line) for s in METHOD_STYLES.values()]
    # Markers alone tell them apart where there are no colours.
    assert len({marker for marker, _, _ in looks}) == len(looks)
    alone, among = method_styles(["snip"]), method_styles(list(METHODS))
    assert alone["snip"] == among["snip"] == METHOD_STYLES["snip"]


def test_unknown_methods_take_styles_that_no_known_one_has():
    styles = method_styles(["snip", "mine", "yours"])
    assert list(styles) == ["snip", "mine", "yours"]
    assert len({style.marker for style in styles.values()}) == 3
    assert styles["yours"].label == "Yours"
    assert styles["mine"].colour == styles["yours"].colour == BLACK
    alone = method_styles(["mine", "yours"])
    assert alone["mine"].colour != alone["yours"].colour


def test_many_methods_have_their_legend_beside_the_axis():
    few = plots.error_against_sparsity(RECORDS)
    many = plots.error_against_sparsity(
        [record(method, 0.9, 0, 0.05) for method in METHOD_STYLES]
    )
    for axis, inside in ((few, True), (many, False)):
        axis.figure.draw_without_rendering()
        left = axis.get_legend().get_window_extent().x0
        assert (left < axis.bbox.x1) == inside


def test_masks_of_coloured_images_show_pixels_that_any_channel_reads():
    mask = np.zeros((2 * 2 * 3, 1))
    mask[5] = mask[3] = 1  # Two of the three channels of the second pixel.
    axis = plots.mask_images(mask, (2, 2, 3))
    inner = axis.images[0].get_array()[1:3, 1:3]
    np.testing.assert_array_equal(inner, [[0, 1], [0, 0]])


def test_pixels_that_no_unit_reads_are_crossed_out():
    mask = np.array([[1, 1, 1], [0, 0, 0], [0, 1, 0], [1, 1, 0]])
    axis = plots.pixel_use(mask, (2, 2))
    np.testing.assert_array_equal(axis.images[0].get_array(), [[3, 0], [1, 2]])
    crosses = axis.collections[0].get_offsets()
    np.testing.assert_array_equal(crosses, [[1, 0]])  # Column 1 of row 0.
    assert axis.get_xlabel() == "1 of 4 pixels read by no unit"
    assert axis.images[0].get_clim() == (0, 3)
    compared = plots.pixel_use(mask, (2, 2), most=10)
    assert compared.images[0].get_clim() == (0, 10)


MOVEMENT = [
    {"epoch": 1, "kept": [[0.1, 0.2]], "removed": [0.0, 0.0, 0.01]},
    {"epoch": 2, "kept": [0.4], "removed": [0.3]},
]


def test_every_weight_is_in_a_bar_and_zeros_have_their_own():
    axis = plots.weight_movement(MOVEMENT, bins=5)
    kept, removed = axis.containers[:2]
    # The highest bar of the first epoch is that of the two zeros.
    scale = max(abs(bar.get_height()) for bar in removed) / 2
    heights = [round(abs(bar.get_height()) / scale) for bar in removed]
    assert heights == [2, 1, 0, 0, 0, 0]
    assert round(sum(abs(bar.get_height()) for bar in kept) / scale) == 2
    zero, nearest = list(removed)[:2]
    assert zero.get_x() + zero.get_width() < nearest.get_x()
    assert axis.get_xticklabels()[0].get_text() == "0"


def test_movement_is_labelled_with_epochs_and_counts():
    axis = plots.weight_movement(MOVEMENT)
    assert [t.get_text() for t in axis.get_yticklabels()] == ["Epoch 1", "Epoch 2"]
    notes = [text.get_text() for text in axis.texts]
    assert notes == ["keeps 2\nof 5", "keeps 1\nof 2"]
    legend = [text.get_text() for text in axis.get_legend().get_texts()]
    assert legend == ["Kept", "Removed when the epoch ends"]
    axis.figure.draw_without_rendering()


def test_distances_of_a_narrow_range_are_labelled_too():
    axis = plots.weight_movement([{"epoch": 1, "kept": [0.15, 0.6], "removed": [0.1]}])
    labels = [text.get_text() for text in axis.get_xticklabels()]
    assert labels == ["0.2", "0.5"]  # The nearest are counted in the first bar.


def test_movement_of_nothing_is_refused():
    for records in ([], [{"epoch": 1, "kept": [0.0], "removed": []}]):
        with pytest.raises(ValueError, match="weight that moved"):
            plots.weight_movement(records)


CANDIDATES = {"label": "Network", "candidates": [3.0, 5.0], "selected": 5.0}


def test_candidates_lie_between_their_mean_and_the_top_weights():
    axis = plots.candidate_fitness([{**CANDIDATES, "top": 14.0}])
    masks, winner = axis.collections
    np.testing.assert_allclose(masks.get_offsets()[:, 0], [-10, 10])
    np.testing.assert_allclose(winner.get_offsets(), [[10, 0]])
    assert list(axis.lines[0].get_xdata()) == [100, 100]
    assert [text.get_text() for text in axis.texts] == ["10 %"]


def test_without_top_weights_fitness_is_shown_as_it_is():
    axis = plots.candidate_fitness([CANDIDATES], label="Sum of |w|")
    np.testing.assert_allclose(axis.collections[0].get_offsets()[:, 0], [3, 5])
    assert axis.get_xlabel() == "Sum of |w|"


def test_candidates_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="2 records, 1 of them"):
        plots.candidate_fitness([CANDIDATES, {**CANDIDATES, "top": 9.0}])
    with pytest.raises(ValueError, match=r"top=4\.0, mean=4\.0"):
        plots.candidate_fitness([{**CANDIDATES, "top": 4.0}])
    with pytest.raises(ValueError, match="0 records"):
        plots.candidate_fitness([])


@pytest.mark.parametrize("selection", ["network", "layer", "unit", "recombine"])
def test_what_is_selected_is_at_least_as_fit_as_every_candidate(selection):
    generator = np.random.default_rng(0)
    fitness = {"a": generator.random((20, 30)), "b": generator.random((30, 5))}
    record = selection_record(fitness, 6, 0.8, selection)
    best = max(record["candidates"])
    assert len(record["candidates"]) == 6
    if selection == "network":
        assert record["selected"] == pytest.approx(best)
    else:
        assert best < record["selected"] < record["top"]


def test_reconstructions_are_rows_of_ink_on_paper():
    images = np.zeros((2, 1, 2, 1))
    images[0, 0, 0] = 1.0
    axis = plots.reconstructions({"Original": images, "Dense": images + 0.5})
    picture = axis.images[0].get_array()
    frame = 0.75
    np.testing.assert_array_equal(picture[1], [frame, 0, 1, frame, 1, 1, frame])
    # What lies beyond 1 is clipped.
    np.testing.assert_array_equal(picture[3], [frame, 0, 0.5, frame, 0.5, 0.5, frame])
    assert [t.get_text() for t in axis.get_yticklabels()] == ["Original", "Dense"]


def test_reconstructions_keep_their_colours():
    red = np.zeros((1, 1, 1, 3))
    red[..., 0] = 1
    picture = plots.reconstructions({"Original": red}).images[0].get_array()
    np.testing.assert_array_equal(picture[1, 1], [1, 0, 0])


def test_reconstructions_of_other_shapes_are_refused():
    for rows in (
        {},
        {"a": np.zeros((1, 2, 2)), "b": np.zeros((2, 2, 2))},
        {"a": np.zeros((2, 4))},
        {"a": np.zeros((1, 2, 2, 2))},
    ):
        with pytest.raises(ValueError, match="`images` must hold rows"):
            plots.reconstructions(rows)


def test_dots_stand_in_rows_with_their_intervals():
    rows = {
        "first": {"95 %": [1.0, 2.0, 3.0], "98 %": [4.0, 6.0]},
        "second": {"95 %": [5.0]},
    }
    axis = plots.interval_dots(rows, "Test error (%)", reference=0.0)
    assert [text.get_text() for text in axis.get_yticklabels()] == ["first", "second"]
    assert axis.yaxis_inverted()
    narrow, wide = (lines(axis)[name] for name in ("98 %", "95 %"))
    np.testing.assert_allclose(wide.get_xdata(orig=False), [2.0, 5.0])
    np.testing.assert_allclose(narrow.get_xdata(orig=False), [5.0])
    ends = {
        container.get_label(): container.lines[2][0].get_segments()[0][:, 0]
        for container in axis.containers
    }
    # The t-interval of three values reaches 4.30 standard errors to both sides.
    np.testing.assert_allclose(ends["95 %"], [2 - 2.484, 2 + 2.484], atol=1e-3)
    np.testing.assert_allclose(ends["98 %"], [5.0, 5.0])
    assert axis.get_xscale() == "linear"


def test_dots_far_apart_share_a_logarithmic_scale():
    axis = plots.interval_dots({"a": {"": [2.0]}, "b": {"": [90.0]}}, "Test error (%)")
    assert axis.get_xscale() == "log"
    assert axis.get_legend() is None
    differences = {"a": {"": [-0.1]}, "b": {"": [-40.0]}}
    axis = plots.interval_dots(differences, "Difference (%)", reference=0.0)
    assert axis.get_xscale() == "symlog"


@pytest.mark.parametrize("rows", [{}, {"a": {}}, {"a": {"95 %": []}}])
def test_dots_without_values_are_refused(rows):
    with pytest.raises(ValueError, match="`rows` must hold one value or more"):
        plots.interval_dots(rows, "Test error (%)")


def test_every_figure_is_drawn_into_the_axis_that_it_is_given():
    images = {"Original": np.ones((1, 2, 2))}
    trial = {"sparsity": 0.9, "value": 98.0, "front": True}
    for draw, data in (
        (plots.candidate_fitness, ([CANDIDATES],)),
        (plots.density_per_layer, (ROWS,)),
        (plots.error_against_sparsity, (RECORDS,)),
        (plots.interval_dots, ({"a": {"b": [1.0]}}, "Test error (%)")),
        (plots.mask_images, (np.eye(4), (2, 2))),
        (plots.pareto_front, ([trial],)),
        (plots.pixel_use, (np.eye(4), (2, 2))),
        (plots.reconstructions, (images,)),
        (plots.weight_movement, (MOVEMENT,)),
    ):
        axis = Figure(layout="constrained").subplots()
        assert draw(*data, axis=axis) is axis
        axis.figure.draw_without_rendering()


def test_axes_that_stand_side_by_side_share_a_figure():
    figure, axes = plots.subplots(rows=1, columns=3, width=9.0, height=3.0)
    assert [axis.figure for axis in axes] == [figure] * 3
    np.testing.assert_array_equal(figure.get_size_inches(), [9, 3])
    assert plots.subplots()[1].figure is not figure
    assert isinstance(plots.density_per_layer(ROWS).figure, plots.Figure)


def test_notebooks_show_figures_without_a_backend(capsys):
    pytest.importorskip("IPython")
    figure, _ = plots.subplots(width=1, height=1)
    figure._ipython_display_()
    assert "Image" in capsys.readouterr().out

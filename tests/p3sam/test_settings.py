"""Settings are the published ones, and wrong ones are refused with what was given."""

import pytest

from partwise.p3sam.settings import P3SamSettings


def test_the_defaults_are_the_published_ones():
    settings = P3SamSettings()

    assert (settings.point_num, settings.prompt_num, settings.seed) == (100_000, 400, 42)
    assert (settings.nms_iou, settings.cluster_size, settings.box_iou) == (0.9, 2, 0.5)
    assert (settings.hole_coverage, settings.small_region) == (0.7, 0.001)
    assert (settings.promoted_region, settings.repair_passes) == (0.001, 50)
    assert (settings.merge_threshold, settings.small_part) == (0.95, 0.01)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("point_num", 0),
        ("prompt_num", 0),
        ("prompt_num", 2.5),
        ("seed", -1),
        ("prompt_batch", 0),
        ("prompt_batch", True),
        ("point_chunk", -1),
        ("repair_passes", -1),
        ("samples_per_face", 0),
        ("nms_iou", 1.5),
        ("box_iou", -0.1),
        ("hole_coverage", float("nan")),
        ("mask_probability", "half"),
        ("precision", "int8"),
        ("encoder_precision", "fp8"),
        ("is_clean", 1),
        ("is_connected", "yes"),
    ],
)
def test_a_wrong_value_is_refused_by_name_and_value(name: str, value: object):
    with pytest.raises(ValueError, match=rf"{name} is {value!r}; give"):
        P3SamSettings(**{name: value})


def test_there_are_no_more_prompts_than_points_to_choose_from() -> None:
    assert P3SamSettings(point_num=100).prompt_count == 100
    assert P3SamSettings().prompt_count == 400


def test_limits_themselves_are_allowed():
    settings = P3SamSettings(point_num=1, prompt_num=1, nms_iou=1, box_iou=0, cluster_size=0)

    assert settings.nms_iou == 1

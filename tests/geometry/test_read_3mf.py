from pathlib import Path

import numpy as np

from tests.geometry.mesh_files import (
    CORE,
    CORNERS,
    FACES,
    MODEL_KIND,
    corners_of,
    mesh_xml,
    model_xml,
    parse,
    threemf,
)


def test_3mf_places_components_with_their_transforms(tmp_path: Path) -> None:
    objects = (
        f'<object id="1" name="box">{mesh_xml()}</object><object id="2"><components>'
        '<component objectid="1"/><component objectid="1" transform="0 1 0 -1 0 0 0 0 1 9 0 0"/>'
        "</components></object>"
    )
    build = '<item objectid="2" transform="1 0 0 0 1 0 0 0 1 0 0 4"/>'
    mesh = parse(threemf(model_xml(objects, build)), "a.3mf", tmp_path)
    x, y, z = CORNERS.T
    assert mesh.node_names == ("box", "box")
    assert np.array_equal(corners_of(mesh)[:12], (CORNERS + np.array([0, 0, 4]))[FACES])
    assert np.array_equal(corners_of(mesh)[12:], np.stack([9 - y, x, z + 4], axis=1)[FACES])
    assert (mesh.facts.unit, mesh.facts.up_axis) == ("inch", "z")


def test_3mf_finds_models_in_other_parts_of_the_archive(tmp_path: Path) -> None:
    space = "http://schemas.microsoft.com/3dmanufacturing/production/2015/06"
    objects = (
        f'<object id="5"><components><component objectid="1" xmlns:p="{space}" '
        'p:path="/3D/Objects/box.model"/></components></object>'
    )
    root = model_xml(objects, '<item objectid="5"/>')
    content = threemf(root, **{"3D/Objects/box.model": model_xml(build="").encode()})
    assert np.array_equal(corners_of(parse(content, "a.3mf", tmp_path)), CORNERS[FACES])


def test_3mf_namespaces_and_start_part_follow_the_standard(tmp_path: Path) -> None:
    prefixed = model_xml().replace(f'xmlns="{CORE}"', f'xmlns:m="{CORE}"')
    for name in ("model", "resources", "object", "mesh", "vertices", "vertex", "triangles"):
        prefixed = prefixed.replace(f"<{name}", f"<m:{name}").replace(f"</{name}", f"</m:{name}")
    for name in ("triangle ", "build", "item"):
        prefixed = prefixed.replace(f"<{name}", f"<m:{name}").replace(f"</{name}", f"</m:{name}")
    prefixed = prefixed.replace("m:m:", "m:")
    start = f'<Relationship Target="/other/place.model" Id="r" Type="{MODEL_KIND}"/>'
    content = threemf("<a/>", start, **{"other/place.model": prefixed.encode()})
    assert np.array_equal(corners_of(parse(content, "a.3mf", tmp_path)), CORNERS[FACES])

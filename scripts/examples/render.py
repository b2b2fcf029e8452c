"""A small software renderer for thumbnails: soft sky light, a key light, a shadow on the floor.

Light is gathered from many directions, each with its own shadow map of surface samples; pixels
hold the nearest surface sample. The same input gives the same picture on every machine.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from scripts.examples.fields import Floats
from scripts.examples.scene import Model
from scripts.examples.surfaces import Ints, vertex_normals

WIDTH, HEIGHT, OVERSAMPLING = 320, 240, 3
SAMPLES = 500_000
SKY_LIGHTS, KEY_LIGHTS = 72, 16
SHADOW_CELLS = 300
KEY = np.array([0.55, 1.0, 0.75]) / np.linalg.norm([0.55, 1.0, 0.75])
ELEVATION_DEGREES, FIELD_OF_VIEW_DEGREES = 17.0, 24.0


@dataclass(frozen=True)
class _Scene:
    """World triangles with corner normals and a linear colour, roughness and metal share each."""

    corners: Floats
    normals: Floats
    colours: Floats
    roughness: Floats
    metallic: Floats


@dataclass(frozen=True)
class _Pixels:
    """What a camera sees: pixel ids with the world point, normal and triangle behind each."""

    ids: Ints
    points: Floats
    normals: Floats
    triangle: Ints


def render(model: Model) -> Image.Image:
    """An RGBA picture of WIDTH × HEIGHT on a transparent ground."""
    scene = _gather(model)
    eye, frame, zoom = _camera(scene.corners.reshape(-1, 3), model.view_degrees)
    seen = _rasterize(scene, eye, frame, zoom)
    samples = _surface_samples(scene)
    sky, key = _light(seen.points, seen.normals, samples)
    picture = np.zeros((HEIGHT * OVERSAMPLING, WIDTH * OVERSAMPLING, 4))
    picture.reshape(-1, 4)[seen.ids, :3] = _shade(scene, seen, sky, key, eye)
    is_object = np.zeros(picture.shape[:2], dtype=bool)
    is_object.ravel()[seen.ids] = True
    shadow = _floor_shadow(scene, samples, eye, frame, zoom)
    shadow = np.repeat(np.repeat(shadow, OVERSAMPLING, axis=0), OVERSAMPLING, axis=1)
    picture[..., 3] = np.where(is_object, 1.0, _softened(shadow, ~is_object))
    return _resolve(picture)


def _floor_shadow(
    scene: _Scene, samples: Floats, eye: Floats, frame: Floats, zoom: float
) -> Floats:
    """(HEIGHT, WIDTH) opacity of the shadow on the floor, as if nothing stood before it."""
    x = (np.arange(WIDTH) + 0.5 - WIDTH / 2) / (HEIGHT / 2) / zoom
    y = (HEIGHT / 2 - np.arange(HEIGHT) - 0.5)[:, None] / (HEIGHT / 2) / zoom
    rays = np.stack([x + 0 * y, y + 0 * x, -np.ones((HEIGHT, WIDTH))], axis=-1) @ frame
    floor = float(scene.corners[..., 1].min())
    falls = rays[..., 1] < -1e-3
    points = eye + rays[falls] * ((floor - eye[1]) / rays[falls][:, 1])[:, None]
    up = np.broadcast_to([0.0, 1.0, 0.0], points.shape)
    sky, key = _light(points, up, samples)
    open_sky, open_key = _light_of_open_floor()
    dark = np.clip(1 - 0.55 * sky / open_sky - 0.45 * key / open_key, 0, 1)
    reach = float(np.linalg.norm(np.ptp(scene.corners.reshape(-1, 3), axis=0)[[0, 2]])) * 1.1
    fade = np.clip(1.6 - np.linalg.norm(points[:, [0, 2]], axis=1) / reach * 1.2, 0, 1)
    shadow = np.zeros((HEIGHT, WIDTH))
    shadow[falls] = dark * 0.62 * fade
    return shadow


def _softened(shadow: Floats, is_ground: NDArray[np.bool_]) -> Floats:
    """The shadow blurred among ground pixels, and faded out before the picture's rim."""
    spread = 4.0 * OVERSAMPLING
    share = gaussian_filter(is_ground.astype(np.float64), spread)
    soft = gaussian_filter(shadow * is_ground, spread) / np.maximum(share, 1e-6)
    height, width = shadow.shape
    x, y = np.arange(width), np.arange(height)[:, None]
    margin = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y))
    rim = np.clip(margin / (48 * OVERSAMPLING), 0, 1)
    return np.asarray(soft * rim * rim * (3 - 2 * rim), dtype=np.float64)


def _gather(model: Model) -> _Scene:
    corners, normals, colours, rough, metal = [], [], [], [], []
    for node in model.nodes:
        if node.shape is None:
            continue
        surface, paint = model.shapes[node.shape]
        matrix = model.world(node)
        world = surface.vertices @ matrix[:3, :3].T + matrix[:3, 3]
        turned = vertex_normals(surface) @ matrix[:3, :3].T
        turned /= np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-30)
        corners.append(world[surface.faces])
        normals.append(turned[surface.faces])
        count = len(surface.faces)
        colours.append(np.tile(paint.linear(), (count, 1)))
        rough.append(np.full(count, paint.roughness))
        metal.append(np.full(count, paint.metallic))
    return _Scene(*[np.concatenate(a) for a in (corners, normals, colours, rough, metal)])


def _camera(points: Floats, view_degrees: float) -> tuple[Floats, Floats, float]:
    """Eye, (3, 3) rows right, up, backward, and the focal length in half picture heights."""
    around, above = np.radians(view_degrees), np.radians(ELEVATION_DEGREES)
    back = np.array([np.sin(around) * np.cos(above), np.sin(above), np.cos(around) * np.cos(above)])
    right = np.cross([0, 1, 0], back) / np.cos(above)
    frame = np.stack([right, np.cross(back, right), back])
    zoom = 1 / np.tan(np.radians(FIELD_OF_VIEW_DEGREES / 2))
    local = points @ frame.T
    centre = (local.max(axis=0) + local.min(axis=0)) / 2
    distance = float(np.ptp(local, axis=0).max()) * 2
    for _ in range(12):  # fit the projected box to 88 % of the picture
        depth = distance - (local[:, 2] - centre[2])
        x = zoom * (local[:, 0] - centre[0]) / depth
        y = zoom * (local[:, 1] - centre[1]) / depth
        centre[0] += (x.max() + x.min()) / 2 * distance / zoom
        centre[1] += (y.max() + y.min()) / 2 * distance / zoom
        distance *= max(np.ptp(x) / (1.76 * WIDTH / HEIGHT), np.ptp(y) / 1.72)
    return centre @ frame + back * distance, frame, zoom


def _project(points: Floats, eye: Floats, frame: Floats, zoom: float) -> Floats:
    """Oversampled pixel columns and rows, and the depth, of (…, 3) points."""
    local = (points - eye) @ frame.T
    depth, half = -local[..., 2], HEIGHT * OVERSAMPLING / 2
    x = WIDTH * OVERSAMPLING / 2 + half * zoom * local[..., 0] / depth
    y = half - half * zoom * local[..., 1] / depth
    return np.stack([x, y, depth], axis=-1)


def _rasterize(scene: _Scene, eye: Floats, frame: Floats, zoom: float) -> _Pixels:
    width, height = WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING
    screen = _project(scene.corners, eye, frame, zoom)
    depth = np.full((height, width), np.inf)
    owner = np.full((height, width), -1, dtype=np.int64)
    weights = np.zeros((height, width, 2))
    a, b, c = screen[:, 0], screen[:, 1], screen[:, 2]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    low = np.maximum(np.floor(screen[..., :2].min(axis=1) - 0.5), 0).astype(np.int64)
    top = np.array([width - 1, height - 1])
    high = np.minimum(np.ceil(screen[..., :2].max(axis=1) + 0.5), top).astype(np.int64)
    for i in np.nonzero(area < 0)[0]:  # the picture's y points down, so fronts turn clockwise
        (x0, y0), (x1, y1) = low[i], high[i]
        x, y = np.arange(x0, x1 + 1) + 0.5, (np.arange(y0, y1 + 1) + 0.5)[:, None]
        v = ((x - a[i, 0]) * (c[i, 1] - a[i, 1]) - (y - a[i, 1]) * (c[i, 0] - a[i, 0])) / area[i]
        w = ((b[i, 0] - a[i, 0]) * (y - a[i, 1]) - (b[i, 1] - a[i, 1]) * (x - a[i, 0])) / area[i]
        z = 1 / ((1 - v - w) / a[i, 2] + v / b[i, 2] + w / c[i, 2])
        window = (slice(y0, y1 + 1), slice(x0, x1 + 1))
        hit = (v >= 0) & (w >= 0) & (v + w <= 1) & (z < depth[window])
        depth[window][hit] = z[hit]
        owner[window][hit] = i
        weights[window][hit] = np.stack([v, w], axis=-1)[hit]
    ids = np.nonzero(owner.ravel() >= 0)[0]
    triangle, vw = owner.ravel()[ids], weights.reshape(-1, 2)[ids]
    blend = np.column_stack([1 - vw.sum(axis=1), vw]) / screen[triangle, :, 2]
    blend /= blend.sum(axis=1, keepdims=True)
    points = np.einsum("nk,nkd->nd", blend, scene.corners[triangle])
    normals = np.einsum("nk,nkd->nd", blend, scene.normals[triangle])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    return _Pixels(ids, points, normals, triangle)


def _surface_samples(scene: _Scene) -> Floats:
    """(SAMPLES, 3) seeded points on the triangles, by area."""
    generator = np.random.default_rng(0)
    edge, other = (scene.corners[:, i] - scene.corners[:, 0] for i in (1, 2))
    area = np.linalg.norm(np.cross(edge, other), axis=1)
    which = np.searchsorted(np.cumsum(area) / area.sum(), generator.random(SAMPLES))
    which = np.minimum(which, len(area) - 1)
    u, v = generator.random((2, SAMPLES, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return np.asarray(scene.corners[which, 0] + u * edge[which] + v * other[which])


def _directions() -> tuple[Floats, Floats]:
    """Evenly spread sky directions above the floor, and a tight bundle about the key light."""
    i = np.arange(SKY_LIGHTS) + 0.5
    y, turn = 1 - i / SKY_LIGHTS * 1.15, i * np.pi * (3 - np.sqrt(5))
    flat = np.sqrt(1 - y**2)
    sky = np.column_stack([flat * np.cos(turn), y, flat * np.sin(turn)])
    j = np.arange(KEY_LIGHTS) + 0.5
    spread, around = 0.16 * np.sqrt(j / KEY_LIGHTS), j * np.pi * (3 - np.sqrt(5))
    side = np.cross([0, 1, 0], KEY) / np.linalg.norm(np.cross([0, 1, 0], KEY))
    ring = np.outer(np.cos(around), side) + np.outer(np.sin(around), np.cross(KEY, side))
    key = KEY + spread[:, None] * ring
    return sky, key / np.linalg.norm(key, axis=1, keepdims=True)


def _light(points: Floats, normals: Floats, samples: Floats) -> tuple[Floats, Floats]:
    """Diffuse light from the sky and from the key light at each point, shadows included."""
    sky, key = _directions()
    cells = float(np.ptp(samples, axis=0).max()) * 1.75 / SHADOW_CELLS
    out = []
    for bundle in (sky, key):
        total = np.zeros(len(points))
        for direction in bundle:
            facing = normals @ direction
            lit = np.nonzero(facing > 0)[0]
            is_open = _unshadowed(points[lit], normals[lit], samples, direction, cells)
            bright = 0.75 + 0.25 * direction[1]
            total[lit] += facing[lit] * bright * is_open
        out.append(total / len(bundle))
    return out[0], out[1]


def _unshadowed(
    points: Floats, normals: Floats, samples: Floats, direction: Floats, cell: float
) -> Floats:
    """1 where nothing lies between a point and the light, blended over four shadow cells."""
    axis = np.eye(3)[np.argmin(np.abs(direction))]
    side = np.cross(direction, axis)
    side /= np.linalg.norm(side)
    plane = np.stack([side, np.cross(direction, side)], axis=1)
    at = samples @ plane / cell
    low = np.floor(at.min(axis=0)) - 1
    shape = (np.ceil(at.max(axis=0)) - low + 3).astype(np.int64)
    index = np.floor(at - low).astype(np.int64)
    nearest = np.full(shape[0] * shape[1], -np.inf)
    np.maximum.at(nearest, index[:, 0] * shape[1] + index[:, 1], samples @ direction)
    lifted = points + normals * cell * 1.5
    where = lifted @ plane / cell - low - 0.5
    height = lifted @ direction + 1.5 * cell
    base = np.floor(where).astype(np.int64)
    t = where - base
    total = np.zeros(len(points))
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = base[:, 0] + dx, base[:, 1] + dy
            is_known = (x >= 0) & (y >= 0) & (x < shape[0]) & (y < shape[1])
            code = np.where(is_known, x * shape[1] + y, 0)
            is_open = ~is_known | (nearest[code] <= height)
            total += is_open * np.abs(1 - dx - t[:, 0]) * np.abs(1 - dy - t[:, 1])
    return total


def _light_of_open_floor() -> tuple[float, float]:
    out = []
    for bundle in _directions():
        facing = np.maximum(bundle[:, 1], 0)
        out.append(float(np.mean(facing * (0.75 + 0.25 * bundle[:, 1]))))
    return out[0], out[1]


def _shade(scene: _Scene, seen: _Pixels, sky: Floats, key: Floats, eye: Floats) -> Floats:
    """(N, 3) linear colour: diffuse light, a highlight of the key, a rim of the sky."""
    colour = scene.colours[seen.triangle]
    rough, metal = scene.roughness[seen.triangle], scene.metallic[seen.triangle]
    towards = eye - seen.points
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    half = towards + KEY
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    shine = 2 / np.maximum(rough, 0.15) ** 3
    gloss = np.maximum(np.einsum("nd,nd->n", half, seen.normals), 0) ** shine
    gloss *= (shine + 8) / 60 * (key > 0.02)
    edge = (1 - np.maximum(np.einsum("nd,nd->n", towards, seen.normals), 0)) ** 4
    sky_up = 0.5 + 0.5 * seen.normals[:, 1]
    tint = np.where(metal[:, None] > 0, colour, 1.0)
    bounce = 0.10 + 0.06 * (1 - seen.normals[:, 1])
    warm, cool = np.array([1.05, 1.0, 0.93]), np.array([0.95, 0.99, 1.06])
    light = 1.75 * sky[:, None] * cool + 1.35 * key[:, None] * warm + bounce[:, None]
    mirror = 0.5 * gloss[:, None] * (0.15 + metal[:, None]) * key[:, None]
    rim = (0.16 * edge * sky_up * (1 - 0.5 * rough) * np.minimum(2 * sky, 1))[:, None]
    matt = colour * light * (1 - 0.35 * metal[:, None])
    return np.asarray(matt + tint * (mirror + rim), dtype=np.float64)


def _resolve(picture: Floats) -> Image.Image:
    """Average the samples with premultiplied alpha, then tone and encode."""
    blocks = picture.reshape(HEIGHT, OVERSAMPLING, WIDTH, OVERSAMPLING, 4)
    alpha = blocks[..., 3].mean(axis=(1, 3))
    tone = np.clip(blocks[..., :3], 0, None)
    tone = tone * (1 + tone / 4) / (1 + tone)
    colour = (tone * blocks[..., 3:]).sum(axis=(1, 3)) / OVERSAMPLING**2
    colour = colour / np.maximum(alpha, 1e-6)[..., None]
    srgb = np.where(colour <= 0.0031308, colour * 12.92, 1.055 * colour ** (1 / 2.4) - 0.055)
    both = np.concatenate([srgb, alpha[..., None]], axis=2)
    return Image.fromarray(np.round(np.clip(both, 0, 1) * 255).astype(np.uint8))

"""A mesh made ready for P3-SAM: cleaned, sampled, placed, sorted into voxels, prompts chosen.

Runs in a worker process; knows nothing of torch or of files. Deterministic: the same mesh and
settings give the same arrays.
"""

from dataclasses import dataclass, field

from partwise.core.errors import MeshError
from partwise.core.progress import Progress, ProgressCallback, StageClock, ignore_progress
from partwise.geometry.clean import CleanMesh, as_given, clean_mesh
from partwise.geometry.normalize import Frame, fit_frame, working_unit
from partwise.geometry.sampling import SurfaceSamples, sample_surface, triangle_normals
from partwise.geometry.topology import Floats, Ints, two_sided_pairs
from partwise.geometry.voxels import VoxelGrid, build_voxels
from partwise.p3sam.prompts import farthest_points
from partwise.p3sam.settings import P3SamSettings


@dataclass(frozen=True)
class PreparedMesh:
    """All that the network and the labelling of faces need to know of a mesh.

    mesh: the cleaned mesh, in working units. unit: size of those in mesh units, a power of two; 1
    for meshes of ordinary size. face_pairs: (P, 2) int64 faces that share a two-sided edge.
    samples: N surface points in working units. normals: (N, 3) float64, flat. frame: from the
    upload's coordinates to the network's. points: (N, 3) float64 in the network's frame. prompts:
    (K,) int64, places in `points`. stage_seconds: time by stage.
    """

    mesh: CleanMesh
    unit: float
    face_pairs: Ints
    samples: SurfaceSamples
    normals: Floats
    frame: Frame
    points: Floats
    voxels: VoxelGrid
    prompts: Ints
    stage_seconds: dict[str, float] = field(default_factory=dict)


def prepare_mesh(
    vertices: Floats,
    faces: Ints,
    *,
    settings: P3SamSettings,
    picked: Ints | None = None,
    first_prompt: int = 0,
    progress: ProgressCallback = ignore_progress,
) -> PreparedMesh:
    """Clean and sample a mesh, and find its voxels and prompts.

    vertices: (V, 3) float64, finite. faces: (F, 3) int64. picked: (M,) the point that stands for
    each voxel, by default the first. first_prompt: the point that prompts start from. Raises
    `MeshError` when there is nothing to sample.
    """
    if not len(faces):
        raise MeshError("The mesh has no faces to segment. Load one with at least one face.")
    clock = StageClock(progress)
    with clock.stage("Cleaning the mesh", 0.0):
        unit = working_unit(vertices)
        clean = clean_mesh if settings.is_clean else as_given
        mesh = clean(vertices / unit, faces)
        pairs = two_sided_pairs(mesh.faces)
    with clock.stage("Sampling the surface", 0.6):
        samples = sample_surface(mesh.vertices, mesh.faces, settings.point_num, settings.seed)
        normals = triangle_normals(mesh.vertices, mesh.faces[samples.face_idx])
        frame = fit_frame(samples.points)
        points = frame.to_network(samples.points)
    with clock.stage("Choosing prompts", 0.8):
        voxels = build_voxels(points, normals, picked=picked)
        prompts = farthest_points(points, settings.prompt_count, start=first_prompt)
    progress(Progress("Prepared", 1.0))
    return PreparedMesh(
        mesh,
        unit,
        pairs,
        samples,
        normals,
        frame.scaled(unit),
        points,
        voxels,
        prompts,
        clock.seconds,
    )

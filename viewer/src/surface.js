// Points on the shown surface, in the coordinates of the file: what is under the pointer, what is near.

import { Raycaster, Triangle, Vector3 } from "three";

// Where the line through a place of the picture (x, y from −1 to 1) first meets a shown part, as
// { point, part }, or null. A part's own coordinates are those of the file, however far it was pulled out.
export function surfacePoint(model, camera, place) {
  const caster = new Raycaster();
  camera.updateMatrixWorld();
  caster.setFromCamera(place, camera);
  const shown = [...model.parts.values()].filter((part) => part.group.visible).flatMap((part) => part.meshes);
  for (const mesh of shown) mesh.updateWorldMatrix(true, false);
  const [hit] = caster.intersectObjects(shown, false);
  return hit ? { point: hit.object.parent.worldToLocal(hit.point.clone()).toArray(), part: hit.object.userData.partId } : null;
}

// The part whose surface is nearest to a point of the file, or null for a model without parts.
export function nearestPart(model, point) {
  const at = new Vector3(...point);
  const byBox = [...model.parts.values()].map((part) => ({ part, gap: part.bounds.distanceToPoint(at) })).sort((a, b) => a.gap - b.gap);
  let best = null;
  let least = Infinity;
  for (const { part, gap } of byBox) {
    if (gap >= least) break;
    const distance = Math.min(...part.meshes.map((mesh) => distanceTo(mesh, at)));
    if (distance < least) [best, least] = [part, distance];
  }
  return best;
}

function distanceTo(mesh, at) {
  const { position } = (mesh.userData.full ?? mesh.geometry).attributes;
  const { index } = mesh.userData.full ?? mesh.geometry;
  const triangle = new Triangle();
  const nearest = new Vector3();
  const local = at.clone().applyMatrix4(mesh.matrix.clone().invert());
  let least = Infinity;
  for (let c = 0; c + 2 < (index ? index.count : position.count); c += 3) {
    const [i, j, k] = index ? [index.getX(c), index.getX(c + 1), index.getX(c + 2)] : [c, c + 1, c + 2];
    triangle.a.fromBufferAttribute(position, i);
    triangle.b.fromBufferAttribute(position, j);
    triangle.c.fromBufferAttribute(position, k);
    least = Math.min(least, triangle.closestPointToPoint(local, nearest).distanceTo(local));
  }
  return least;
}

// Pure arithmetic of the viewer: where parts go when exploded, how far the camera must stand,
// and normals that are smooth over curves and sharp at creases. No drawing, no page.

const GOLDEN_ANGLE = Math.PI * (3 - Math.sqrt(5));
const MOST_FACES_AROUND_POINT = 256; // bounds the work at the tip of a fan of thousands of faces
const CENTRAL = 0.04; // parts nearer to the centre than this share of the diagonal have no direction of their own
const CLEARANCE = 0.1; // gap added to every part, as a share of the diagonal
const OUT_OF_THE_BIGGEST = 0.3; // of two diagonals: a ball's radius is 0.29 of its box's diagonal
const SPREAD = 0.85; // how much the distance from the centre grows

// Directions evenly spread over the sphere; the same index always gives the same direction.
export function spreadDirection(index, count) {
  const y = count > 1 ? 1 - (2 * (index + 0.5)) / count : 0;
  const ring = Math.sqrt(1 - y * y);
  return [ring * Math.cos(index * GOLDEN_ANGLE), y, ring * Math.sin(index * GOLDEN_ANGLE)];
}

const centreOf = ({ min, max }) => [0, 1, 2].map((i) => (min[i] + max[i]) / 2);
const sizeOf = ({ min, max }) => Math.hypot(max[0] - min[0], max[1] - min[1], max[2] - min[2]);

export function unionBox(boxes) {
  const min = [Infinity, Infinity, Infinity];
  const max = [-Infinity, -Infinity, -Infinity];
  for (const box of boxes) {
    for (let i = 0; i < 3; i++) {
      min[i] = Math.min(min[i], box.min[i]);
      max[i] = Math.max(max[i], box.max[i]);
    }
  }
  return { min, max };
}

// The offset of each part at full explosion: away from the mean of all centres in proportion to its distance,
// plus a clearance. The largest central part stays; other central parts are spread evenly; parts
// that share a centre (a tyre and its rim) get different clearances.
export function explodeOffsets(boxes) {
  if (boxes.length < 2) return boxes.map(() => [0, 0, 0]);
  const centres = boxes.map(centreOf);
  const centre = [0, 1, 2].map((i) => centres.reduce((sum, each) => sum + each[i], 0) / centres.length);
  const diagonal = sizeOf(unionBox(boxes)) || 1;
  const arms = centres.map((each) => each.map((value, i) => value - centre[i]));
  const length = arms.map((arm) => Math.hypot(...arm));
  const bySize = boxes.map((_, i) => i).sort((a, b) => sizeOf(boxes[b]) - sizeOf(boxes[a]) || a - b);
  const central = bySize.filter((i) => length[i] < CENTRAL * diagonal);
  const rank = ranksAmongCoincident(arms, bySize, CENTRAL * diagonal);
  return boxes.map((_, i) => {
    const place = central.indexOf(i);
    if (place === 0) return [0, 0, 0];
    const isCentral = place > 0;
    const direction = isCentral ? spreadDirection(place - 1, central.length - 1) : arms[i].map((v) => v / length[i]);
    const past = isCentral ? OUT_OF_THE_BIGGEST * (sizeOf(boxes[central[0]]) + sizeOf(boxes[i])) : 0;
    const clearance = past + CLEARANCE * diagonal * (1 + rank[i] * (isCentral ? 0 : 1));
    return direction.map((v, axis) => SPREAD * arms[i][axis] + clearance * v);
  });
}

function ranksAmongCoincident(arms, order, distance) {
  const rank = new Array(arms.length).fill(0);
  order.forEach((i, position) => {
    rank[i] = order.slice(0, position).filter((j) => Math.hypot(...arms[i].map((v, k) => v - arms[j][k])) < distance).length;
  });
  return rank;
}

// Distance from `target` at which a camera looking along -`toCamera` sees all `corners`.
export function fitDistance(corners, target, axes, { fieldOfView, aspect, margin = 1.12 }) {
  const vertical = Math.tan(fieldOfView / 2);
  const horizontal = vertical * aspect;
  let distance = 0;
  for (const corner of corners) {
    const p = corner.map((v, i) => (v - target[i]) * margin);
    const along = dot(p, axes.toCamera);
    distance = Math.max(distance, Math.abs(dot(p, axes.right)) / horizontal + along, Math.abs(dot(p, axes.up)) / vertical + along);
  }
  return distance;
}

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

export function cornersOf({ min, max }) {
  const corners = [];
  for (const x of [min[0], max[0]]) for (const y of [min[1], max[1]]) for (const z of [min[2], max[2]]) corners.push([x, y, z]);
  return corners;
}

// Positions (3F x 3) and normals (3F x 3) of separate triangles: a corner's normal averages those
// faces around its point, weighted by area, whose own normals are within the crease angle.
export function creasedTriangles(position, index, creaseAngle) {
  const cornerCount = index ? index.length : position.length / 3;
  const corners = new Float32Array(cornerCount * 3);
  for (let c = 0; c < cornerCount; c++) {
    const v = 3 * (index ? index[c] : c);
    corners[3 * c] = position[v];
    corners[3 * c + 1] = position[v + 1];
    corners[3 * c + 2] = position[v + 2];
  }
  const { weighted, unit } = faceNormals(corners);
  return { position: corners, normal: cornerNormals(weldedPoints(corners), weighted, unit, Math.cos(creaseAngle)) };
}

function faceNormals(corners) {
  const weighted = new Float32Array(corners.length / 3);
  const unit = new Float32Array(corners.length / 3);
  for (let f = 0; f < weighted.length; f += 3) {
    const a = 3 * f;
    const ux = corners[a + 3] - corners[a], uy = corners[a + 4] - corners[a + 1], uz = corners[a + 5] - corners[a + 2];
    const vx = corners[a + 6] - corners[a], vy = corners[a + 7] - corners[a + 1], vz = corners[a + 8] - corners[a + 2];
    const x = uy * vz - uz * vy, y = uz * vx - ux * vz, z = ux * vy - uy * vx;
    const length = Math.sqrt(x * x + y * y + z * z) || 1;
    weighted[f] = x;
    weighted[f + 1] = y;
    weighted[f + 2] = z;
    unit[f] = x / length;
    unit[f + 1] = y / length;
    unit[f + 2] = z / length;
  }
  return { weighted, unit };
}

// For each corner the number of its point, equal positions sharing one: an open-addressing table.
function weldedPoints(corners) {
  const count = corners.length / 3;
  const capacity = 1 << Math.ceil(Math.log2(count * 2 + 2));
  const table = new Int32Array(capacity).fill(-1);
  const bits = new Int32Array(corners.buffer, corners.byteOffset, corners.length);
  const point = new Int32Array(count);
  for (let c = 0; c < count; c++) {
    const x = bits[3 * c], y = bits[3 * c + 1], z = bits[3 * c + 2];
    let slot = (Math.imul(x, 73856093) ^ Math.imul(y, 19349663) ^ Math.imul(z, 83492791)) >>> 0;
    slot = (slot ^ (slot >>> 15)) & (capacity - 1);
    while (table[slot] >= 0) {
      const other = 3 * table[slot];
      if (bits[other] === x && bits[other + 1] === y && bits[other + 2] === z) break;
      slot = (slot + 1) & (capacity - 1);
    }
    if (table[slot] < 0) table[slot] = c;
    point[c] = table[slot];
  }
  return point;
}

function cornerNormals(point, weighted, unit, cosine) {
  const count = point.length;
  const next = new Int32Array(count).fill(-1); // corners of one point as a chain
  const last = new Int32Array(count).fill(-1);
  for (let c = 0; c < count; c++) {
    const p = point[c];
    if (last[p] >= 0) next[last[p]] = c;
    last[p] = c;
  }
  const normal = new Float32Array(count * 3);
  for (let c = 0; c < count; c++) {
    const f = 3 * ((c / 3) | 0);
    let x = 0, y = 0, z = 0;
    let seen = 0;
    for (let o = point[c]; o >= 0 && seen < MOST_FACES_AROUND_POINT; o = next[o], seen++) {
      const g = 3 * ((o / 3) | 0);
      if (unit[f] * unit[g] + unit[f + 1] * unit[g + 1] + unit[f + 2] * unit[g + 2] < cosine) continue;
      x += weighted[g];
      y += weighted[g + 1];
      z += weighted[g + 2];
    }
    const length = Math.sqrt(x * x + y * y + z * z);
    normal[3 * c] = length ? x / length : 0;
    normal[3 * c + 1] = length ? y / length : 1;
    normal[3 * c + 2] = length ? z / length : 0;
  }
  return normal;
}

// A coarse stand-in: the vertices in one cell of a grid become their mean, faces within cells vanish.
// For drawing while something moves on a slow machine; holes and folds do not matter there.
export function clusteredTriangles(position, normal, index, cell) {
  const count = position.length / 3;
  const cluster = clustersOf(position, cell);
  const places = new Map();
  for (let v = 0; v < count; v++) if (!places.has(cluster[v])) places.set(cluster[v], places.size);
  const sums = { position: new Float32Array(places.size * 3), normal: new Float32Array(places.size * 3), weight: new Uint32Array(places.size) };
  for (let v = 0; v < count; v++) {
    const at = (cluster[v] = places.get(cluster[v]));
    sums.weight[at] += 1;
    for (let i = 0; i < 3; i++) {
      sums.position[3 * at + i] += position[3 * v + i];
      sums.normal[3 * at + i] += normal[3 * v + i];
    }
  }
  for (let i = 0; i < sums.position.length; i++) sums.position[i] /= sums.weight[(i / 3) | 0];
  return { position: sums.position, normal: sums.normal, index: facesBetween(cluster, index, count) };
}

// The first vertex found in each vertex's cell.
function clustersOf(position, cell) {
  const count = position.length / 3;
  const capacity = 1 << Math.ceil(Math.log2(count * 2 + 2));
  const table = new Int32Array(capacity).fill(-1);
  const cells = new Int32Array(position.length);
  const cluster = new Int32Array(count);
  for (let i = 0; i < position.length; i++) cells[i] = Math.floor(position[i] / cell);
  for (let v = 0; v < count; v++) {
    const x = cells[3 * v], y = cells[3 * v + 1], z = cells[3 * v + 2];
    let slot = (Math.imul(x, 73856093) ^ Math.imul(y, 19349663) ^ Math.imul(z, 83492791)) >>> 0;
    slot = (slot ^ (slot >>> 15)) & (capacity - 1);
    while (table[slot] >= 0) {
      const other = 3 * table[slot];
      if (cells[other] === x && cells[other + 1] === y && cells[other + 2] === z) break;
      slot = (slot + 1) & (capacity - 1);
    }
    if (table[slot] < 0) table[slot] = v;
    cluster[v] = table[slot];
  }
  return cluster;
}

function facesBetween(cluster, index, count) {
  const kept = [];
  const corners = index ? index.length : count;
  for (let c = 0; c + 2 < corners; c += 3) {
    const i = cluster[index ? index[c] : c];
    const j = cluster[index ? index[c + 1] : c + 1];
    const k = cluster[index ? index[c + 2] : c + 2];
    if (i !== j && j !== k && k !== i) kept.push(i, j, k);
  }
  return new Uint32Array(kept);
}

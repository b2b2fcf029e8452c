// A loaded GLB as parts: geometry, materials, boxes; everything on the GPU that must be freed again.

import {
  Box3, BoxGeometry, BufferAttribute, BufferGeometry, Color, DoubleSide, EdgesGeometry, Group, LineBasicMaterial,
  LineSegments, Mesh, MeshBasicMaterial, MeshStandardMaterial, Vector3,
} from "three";
import { GLTFLoader } from "three/examples/jsm/loaders/GLTFLoader.js";
import { clusteredTriangles, creasedTriangles, explodeOffsets, unionBox } from "./geometry.js";

export const SURFACE_LAYER = 0; // what can be picked
export const DECORATION_LAYER = 1; // boxes, wires, shadow
export const NO_PART = -1; // of faces that are in no part
const CREASE = (38 * Math.PI) / 180;
const MOST_FACES_FOR_CREASES = 400_000; // above it smooth shading of the shared vertices is quicker and enough
const DRAFT_CELLS = 110; // cells along the diagonal of the coarse stand-in
const LEAST_FACES_FOR_DRAFT = 60_000;
const CLAY = "#a9b4c6";

export async function loadScene(url, signal) {
  const response = await fetch(url, { signal });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return (await new GLTFLoader().parseAsync(await response.arrayBuffer(), "")).scene;
}

export async function loadModel(url, signal) {
  const model = new Model(await loadScene(url, signal));
  if (model.parts.size === 0) throw new Error("the file holds no surface");
  return model;
}

class Part {
  constructor(id) {
    this.id = id;
    this.group = new Group();
    this.meshes = [];
    this.wires = [];
    this.box = null;
    this.bounds = new Box3();
    this.material = partMaterial();
    this.base = new Color(CLAY);
    this.offset = [0, 0, 0];
    this.faces = 0;
  }
}

export class Model {
  constructor(scene) {
    this.group = new Group();
    this.parts = new Map();
    this.faces = 0;
    scene.updateMatrixWorld(true);
    const meshes = [];
    scene.traverse((node) => node.isMesh && meshes.push(node));
    for (const mesh of meshes) this.#add(mesh);
    this.#prepareNormals();
    this.bounds = this.#whole();
  }

  #add(mesh) {
    const id = partIdOf(mesh);
    if (!this.parts.has(id)) {
      const part = new Part(id);
      this.parts.set(id, part);
      this.group.add(part.group);
    }
    const part = this.parts.get(id);
    const source = mesh.material;
    if (source.map || mesh.geometry.attributes.color) adoptLook(part.material, source, mesh.geometry);
    else if (source.color && source.color.getHex() !== 0xffffff) part.base.copy(source.color);
    const own = new Mesh(mesh.geometry, part.material);
    own.matrix.copy(mesh.matrixWorld);
    own.matrixAutoUpdate = false;
    own.userData.partId = id;
    own.geometry.computeBoundingBox();
    part.bounds.union(own.geometry.boundingBox.clone().applyMatrix4(own.matrix));
    part.faces += faceCount(own.geometry);
    this.faces += faceCount(own.geometry);
    part.meshes.push(own);
    part.group.add(own);
  }

  // Files that bring normals keep them.
  #prepareNormals() {
    for (const part of this.parts.values()) {
      for (const mesh of part.meshes) {
        const { geometry } = mesh;
        const { normal, uv, color } = geometry.attributes;
        if (normal) continue;
        if (this.faces > MOST_FACES_FOR_CREASES || uv || color) geometry.computeVertexNormals();
        else mesh.geometry = creased(geometry);
      }
    }
  }

  #whole() {
    const { min, max } = unionBox(this.boxes());
    return new Box3(new Vector3(...min), new Vector3(...max));
  }

  boxes() {
    return [...this.parts.values()].map(({ bounds }) => ({ min: bounds.min.toArray(), max: bounds.max.toArray() }));
  }

  // Where each part stands at full explosion; parts in order of id, so that it is the same each time.
  prepareExplosion() {
    const ordered = [...this.parts.values()].sort((a, b) => a.id - b.id);
    const boxes = ordered.map(({ bounds }) => ({ min: bounds.min.toArray(), max: bounds.max.toArray() }));
    explodeOffsets(boxes).forEach((offset, i) => (ordered[i].offset = offset));
  }

  explode(amount) {
    for (const part of this.parts.values()) part.group.position.set(...part.offset).multiplyScalar(amount);
  }

  // Boxes of the shown parts at an explosion, in the model's own coordinates.
  shownBoxes(amount) {
    const shown = [...this.parts.values()].filter((part) => part.group.visible);
    return (shown.length ? shown : [...this.parts.values()]).map(({ bounds, offset }) => ({
      min: bounds.min.toArray().map((v, i) => v + amount * offset[i]),
      max: bounds.max.toArray().map((v, i) => v + amount * offset[i]),
    }));
  }

  colour(part, hex) {
    if (hex && !part.material.userData.ownLook) part.base.set(hex);
  }

  showBoxes(show, aabbOf) {
    for (const part of this.parts.values()) {
      if (part.box) disposeObject(part.group, part.box);
      part.box = null;
      if (!show) continue;
      part.box = boxLines(aabbOf(part.id) ?? { min: part.bounds.min.toArray(), max: part.bounds.max.toArray() }, part.base);
      part.group.add(part.box);
    }
  }

  showWires(show, colour) {
    for (const part of this.parts.values()) {
      for (const wire of part.wires) {
        part.group.remove(wire);
        wire.material.dispose();
      }
      part.wires = show ? part.meshes.map((mesh) => wireOf(mesh, colour)) : [];
      part.wires.forEach((wire) => part.group.add(wire));
    }
  }

  // Show coarse stand-ins while something moves on a slow machine; they are made when first needed.
  showDraft(show) {
    if (this.isDraft === show || this.faces < LEAST_FACES_FOR_DRAFT) return;
    this.isDraft = show;
    const cell = this.bounds.getSize(new Vector3()).length() / DRAFT_CELLS;
    for (const part of this.parts.values()) {
      part.wires.forEach((wire) => (wire.visible = !show));
      for (const mesh of part.meshes) {
        mesh.userData.full ??= mesh.geometry;
        if (show) mesh.userData.draft ??= draftOf(mesh.userData.full, cell);
        mesh.geometry = show ? mesh.userData.draft : mesh.userData.full;
      }
    }
  }

  dispose() {
    this.showDraft(false);
    for (const part of this.parts.values()) {
      for (const mesh of part.meshes) {
        mesh.geometry.dispose();
        mesh.userData.draft?.dispose();
      }
      part.wires.forEach((wire) => wire.material.dispose());
      if (part.box) disposeObject(part.group, part.box);
      part.material.map?.dispose();
      part.material.dispose();
    }
    this.group.removeFromParent();
    this.parts.clear();
  }
}

export function partIdOf(mesh) {
  for (let node = mesh; node; node = node.parent) {
    if (Number.isInteger(node.userData?.part_id)) return node.userData.part_id;
  }
  return NO_PART;
}

function faceCount(geometry) {
  return Math.floor((geometry.index ? geometry.index.count : geometry.attributes.position.count) / 3);
}

function plainPositions(geometry) {
  const { position } = geometry.attributes;
  if (position.array instanceof Float32Array && !position.isInterleavedBufferAttribute) return position.array;
  const plain = new Float32Array(position.count * 3);
  for (let i = 0; i < position.count; i++) plain.set([position.getX(i), position.getY(i), position.getZ(i)], 3 * i);
  return plain;
}

function creased(geometry) {
  const made = creasedTriangles(plainPositions(geometry), geometry.index?.array ?? null, CREASE);
  const separate = new BufferGeometry();
  separate.setAttribute("position", new BufferAttribute(made.position, 3));
  separate.setAttribute("normal", new BufferAttribute(made.normal, 3));
  separate.boundingBox = geometry.boundingBox;
  geometry.dispose();
  return separate;
}

function draftOf(geometry, cell) {
  const { normal } = geometry.attributes;
  const made = clusteredTriangles(plainPositions(geometry), normal.array, geometry.index?.array ?? null, cell);
  const draft = new BufferGeometry();
  draft.setAttribute("position", new BufferAttribute(made.position, 3));
  draft.setAttribute("normal", new BufferAttribute(made.normal, 3));
  draft.setIndex(new BufferAttribute(made.index, 1));
  return draft;
}

function partMaterial() {
  const material = new MeshStandardMaterial({ color: CLAY, roughness: 0.62, metalness: 0, side: DoubleSide, polygonOffset: true, polygonOffsetFactor: 1, polygonOffsetUnits: 1 });
  // The inside of an open part is a little darker, so that a hole is seen as one.
  material.onBeforeCompile = (shader) => {
    shader.fragmentShader = shader.fragmentShader.replace("#include <color_fragment>", "#include <color_fragment>\n if (!gl_FrontFacing) diffuseColor.rgb *= 0.74;");
  };
  return material;
}

function adoptLook(material, source, geometry) {
  material.userData.ownLook = true;
  material.map = source.map;
  material.vertexColors = Boolean(geometry.attributes.color);
  material.color.copy(source.color);
}

function boxLines({ min, max }, colour) {
  const size = max.map((v, i) => Math.max(v - min[i], 1e-6));
  const solid = new BoxGeometry(...size);
  const lines = new LineSegments(new EdgesGeometry(solid), new LineBasicMaterial({ color: colour }));
  solid.dispose();
  lines.position.set(...min.map((v, i) => (v + max[i]) / 2));
  lines.layers.set(DECORATION_LAYER);
  return lines;
}

function wireOf(mesh, colour) {
  const wire = new Mesh(mesh.userData.full ?? mesh.geometry, new MeshBasicMaterial({ color: colour, wireframe: true, transparent: true, opacity: 0.26 }));
  wire.matrix.copy(mesh.matrix);
  wire.matrixAutoUpdate = false;
  wire.layers.set(DECORATION_LAYER);
  return wire;
}

function disposeObject(parent, object) {
  parent.remove(object);
  object.geometry.dispose();
  object.material.dispose();
}

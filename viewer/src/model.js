// A loaded GLB as parts: geometry, materials; everything on the GPU that must be freed again.

import {
  Box3, BufferAttribute, BufferGeometry, Color, DoubleSide, Group, Mesh, MeshBasicMaterial, MeshStandardMaterial, Vector3,
} from "three";
import { GLTFLoader } from "three/examples/jsm/loaders/GLTFLoader.js";
import { cutLook, hatch } from "./cuts.js";
import { clusteredTriangles, creasedTriangles, explodeOffsets, unionBox } from "./geometry.js";

export const SURFACE_LAYER = 0; // what can be picked
export const DECORATION_LAYER = 1; // boxes, wires, shadow
export const NO_PART = -1; // of faces that are in no part
const CREASE = (38 * Math.PI) / 180;
const MOST_FACES_FOR_CREASES = 400_000; // above it smooth shading of the shared vertices is quicker and enough
const DRAFT_CELLS = 110; // cells along the diagonal of the coarse stand-in
const LEAST_FACES_FOR_DRAFT = 60_000;
export const CLAY = "#a9b4c6";

export async function loadScene(url, signal) {
  const response = await fetch(url, { signal });
  if (!response.ok) throw Object.assign(new Error(`the server answered ${response.status}`), { isReplaced: response.status === 410 });
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
    this.bounds = new Box3();
    this.material = partMaterial();
    this.cutMaterial = null; // of its cut surfaces, when it has any
    this.base = new Color(CLAY);
    this.offset = [0, 0, 0];
    this.faces = 0;
  }
}

export class Model {
  constructor(scene) {
    this.group = new Group();
    this.parts = new Map();
    this.offsets = new Map();
    this.cutLook = cutLook();
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
    const isCut = mesh.geometry.userData.is_cut === true;
    if (isCut) part.cutMaterial ??= hatch(partMaterial(), part.material, this.cutLook);
    const own = new Mesh(mesh.geometry, isCut ? part.cutMaterial : part.material);
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
    return [...this.parts.values()].map(({ bounds }) => plainBox(bounds));
  }

  // The box of a part, or null where the file lacks it.
  boxOf(id) {
    const part = this.parts.get(id);
    return part ? plainBox(part.bounds) : null;
  }

  get hasCuts() {
    return [...this.parts.values()].some((part) => part.cutMaterial);
  }

  extent() {
    return plainBox(this.bounds);
  }

  // Where each part stands at full explosion; parts in order of id, so that it is the same each time.
  // `rows`: Map id → box of all parts of the table, so that those still to come move nothing.
  prepareExplosion(rows) {
    const ids = [...new Set([...this.parts.keys(), ...rows.keys()])].sort((a, b) => a - b);
    const boxes = ids.map((id) => rows.get(id) ?? plainBox(this.parts.get(id).bounds));
    this.offsets = new Map(explodeOffsets(boxes).map((offset, i) => [ids[i], offset]));
    for (const part of this.parts.values()) part.offset = this.offsets.get(part.id);
  }

  explode(amount) {
    for (const part of this.parts.values()) part.group.position.set(...part.offset).multiplyScalar(amount);
  }

  // Boxes of the shown parts at an explosion, in the model's own coordinates; with those of `coming`,
  // parts of the table that the file does not hold yet.
  shownBoxes(amount, coming) {
    const shown = [...this.parts.values()].filter((part) => part.group.visible);
    const drawn = (shown.length || coming.size ? shown : [...this.parts.values()]).map((part) => [part.id, plainBox(part.bounds)]);
    return [...drawn, ...coming].map(([id, box]) => moved(box, this.offsets.get(id), amount));
  }

  colour(part, hex) {
    if (hex && !part.material.userData.ownLook) part.base.set(hex);
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
      part.material.map?.dispose();
      part.material.dispose();
      part.cutMaterial?.dispose();
    }
    this.group.removeFromParent();
    this.parts.clear();
  }
}

function moved({ min, max }, offset = [0, 0, 0], amount) {
  return { min: min.map((v, i) => v + amount * offset[i]), max: max.map((v, i) => v + amount * offset[i]) };
}

function plainBox({ min, max }) {
  return { min: min.toArray(), max: max.toArray() };
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

function wireOf(mesh, colour) {
  const wire = new Mesh(mesh.userData.full ?? mesh.geometry, new MeshBasicMaterial({ color: colour, wireframe: true, transparent: true, opacity: 0.26 }));
  wire.matrix.copy(mesh.matrix);
  wire.matrixAutoUpdate = false;
  wire.layers.set(DECORATION_LAYER);
  return wire;
}

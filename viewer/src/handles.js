// Six handles on the faces of one box: drawn over everything, dragged along their axis by mouse, pen or
// finger. Knows the picture and the pointer; what a drag means is said by its callbacks.

import { BufferGeometry, CanvasTexture, Float32BufferAttribute, Group, MathUtils, Points, PointsMaterial, Raycaster, Vector2, Vector3 } from "three";
import { DECORATION_LAYER } from "./model.js";

const PIXELS = 24;
const HELD_PIXELS = 30;
const OUTWARD_PIXELS = 17; // from the face, so that the handles of a small box stand apart
const REACH = { mouse: 15, pen: 18, touch: 28 }; // pixels around a handle that take hold of it
const END_ON = 0.985; // cosine between axis and sight above which a drag along the axis cannot be seen
const TEXTURE_PIXELS = 96;
export const FACES = [0, 1, 2].flatMap((axis) => [0, 1].map((side) => ({ axis, side, name: `${"xyz"[axis]} ${side ? "max" : "min"}` })));

export class BoxHandles {
  // `on`: start(axis, side), move(distance), end(isKept), hover(), changed(). A drag's distance is in
  // mesh units along the axis, from where it began.
  constructor(canvas, camera, on) {
    Object.assign(this, { canvas, camera, on });
    this.group = new Group();
    this.box = null;
    this.hovered = null;
    this.drag = null; // { face, pointerId, from, isOver }
    this.place = new BufferGeometry().setAttribute("position", new Float32BufferAttribute([0, 0, 0], 3));
    this.textures = [..."xyz"].map(letterTexture);
    this.points = FACES.map(({ axis }) => this.#point(this.textures[axis]));
    this.group.add(...this.points);
    this.raycaster = new Raycaster();
    this.#listen();
  }

  #point(map) {
    const material = new PointsMaterial({ size: PIXELS, sizeAttenuation: false, map, transparent: true, depthTest: false, depthWrite: false });
    const point = new Points(this.place, material);
    point.layers.set(DECORATION_LAYER);
    point.renderOrder = 4;
    point.frustumCulled = false;
    return point;
  }

  // `anchor`: the group in mesh coordinates on which the box hangs; null for no handles.
  show(anchor, box) {
    const isSame = this.group.parent === anchor;
    this.box = anchor && box;
    if (!isSame) this.group.removeFromParent();
    if (anchor && !isSame) anchor.add(this.group);
    if (!anchor) this.cancel();
    this.on.changed();
  }

  get isShown() {
    return this.box !== null && Boolean(this.group.parent?.visible);
  }

  // Before each picture: the handles keep their size and their distance from the faces on the screen.
  arrange() {
    if (!this.isShown) return;
    this.group.updateWorldMatrix(true, false);
    const scale = this.group.matrixWorld.getMaxScaleOnAxis();
    FACES.forEach((face, i) => {
      const point = this.points[i];
      point.position.copy(middleOf(this.box, face));
      const away = point.position.clone().applyMatrix4(this.group.matrixWorld).distanceTo(this.camera.position);
      const pixel = (2 * away * Math.tan(MathUtils.degToRad(this.camera.fov) / 2)) / this.canvas.clientHeight / scale;
      point.position.setComponent(face.axis, point.position.getComponent(face.axis) + (face.side ? 1 : -1) * OUTWARD_PIXELS * pixel);
      point.updateMatrixWorld(true);
      const isHeld = face === this.hovered || face === this.drag?.face;
      point.material.size = isHeld ? HELD_PIXELS : PIXELS;
      point.material.opacity = this.#isEndOn(face, point) && !isHeld ? 0.35 : 1;
    });
  }

  #isEndOn({ axis }, point) {
    const along = new Vector3().setComponent(axis, 1).transformDirection(this.group.matrixWorld);
    const sight = new Vector3().setFromMatrixPosition(point.matrixWorld).sub(this.camera.position).normalize();
    return Math.abs(along.dot(sight)) > END_ON;
  }

  // Where a handle is on the page, moved by a distance along its axis.
  pageOf(face, distance = 0) {
    this.arrange();
    this.camera.updateMatrixWorld();
    const at = this.points[FACES.indexOf(face)].position.clone();
    at.setComponent(face.axis, at.getComponent(face.axis) + distance).applyMatrix4(this.group.matrixWorld).project(this.camera);
    const area = this.canvas.getBoundingClientRect();
    return { x: area.left + ((at.x + 1) / 2) * area.width, y: area.top + ((1 - at.y) / 2) * area.height, depth: at.z };
  }

  // The handle at a point of the page, the nearer of two at one place, or null.
  #faceAt({ clientX, clientY, pointerType }) {
    if (!this.isShown) return null;
    const reach = REACH[pointerType] ?? REACH.mouse;
    const found = FACES.map((face, i) => ({ face, point: this.points[i], at: this.pageOf(face) }))
      .map((item) => ({ ...item, off: Math.hypot(item.at.x - clientX, item.at.y - clientY) }))
      .filter(({ at, off, face, point }) => off <= reach && Math.abs(at.depth) < 1 && !this.#isEndOn(face, point));
    found.sort((a, b) => (Math.abs(a.off - b.off) > 6 ? a.off - b.off : a.at.depth - b.at.depth));
    return found[0]?.face ?? null;
  }

  // The place along the face's axis that is nearest to the sight through the pointer, in mesh units;
  // null where the axis points at the eye.
  #along({ axis, side }, { clientX, clientY }) {
    const area = this.canvas.getBoundingClientRect();
    this.camera.updateMatrixWorld();
    this.raycaster.setFromCamera(new Vector2((2 * (clientX - area.left)) / area.width - 1, 1 - (2 * (clientY - area.top)) / area.height), this.camera);
    const ray = this.raycaster.ray.clone().applyMatrix4(this.group.matrixWorld.clone().invert());
    const start = this.drag?.origin ?? middleOf(this.box, { axis, side });
    const arm = start.clone().sub(ray.origin);
    const cosine = ray.direction.getComponent(axis);
    if (Math.abs(cosine) > END_ON) return null;
    return (cosine * arm.dot(ray.direction) - arm.getComponent(axis)) / (1 - cosine * cosine);
  }

  // The events are caught above the canvas, before the camera's controls and the picking see them.
  #listen() {
    const area = this.canvas.parentElement;
    const hear = (type, handler) => area.addEventListener(type, (event) => event.target === this.canvas && handler(event) && event.stopPropagation(), { capture: true });
    hear("pointerdown", (event) => this.#press(event));
    hear("pointermove", (event) => (this.drag ? this.#pull(event) : this.#hover(event)));
    hear("pointerup", (event) => this.#release(event, true));
    hear("pointercancel", (event) => this.#release(event, false));
    hear("lostpointercapture", (event) => this.#release(event, false));
    this.canvas.addEventListener("pointerleave", () => !this.drag && this.#setHovered(null));
  }

  // Each returns whether the event was meant for a handle and no one else may see it.
  #press(event) {
    if (this.drag) return true; // another finger
    const face = event.isPrimary && event.button === 0 ? this.#faceAt(event) : null;
    if (face === null) return false;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const origin = this.points[FACES.indexOf(face)].position.clone();
    this.drag = { face, pointerId: event.pointerId, origin, from: 0, isOver: false };
    this.drag.from = this.#along(face, event) ?? 0;
    this.on.start(face.axis, face.side);
    this.#setHovered(face);
    this.canvas.style.cursor = "grabbing";
    return true;
  }

  #pull(event) {
    if (event.pointerId !== this.drag.pointerId || this.drag.isOver) return true;
    const at = this.#along(this.drag.face, event);
    if (at !== null) this.on.move(at - this.drag.from);
    return true;
  }

  #release(event, isKept) {
    if (!this.drag) return false;
    if (event.pointerId !== this.drag.pointerId) return true;
    const { isOver } = this.drag;
    this.drag = null;
    this.#setHovered(null);
    if (!isOver) this.on.end(isKept);
    return true;
  }

  // Leaves a drag without its change; the pointer is still down and moves nothing until it is up.
  cancel() {
    if (!this.drag || this.drag.isOver) return false;
    this.drag.isOver = true;
    this.on.end(false);
    return true;
  }

  #hover(event) {
    if (event.pointerType === "touch" || event.buttons !== 0) return false;
    const face = this.#faceAt(event);
    if (face !== this.hovered) this.#setHovered(face);
    if (face === null) return false;
    this.on.hover();
    this.canvas.style.cursor = "grab";
    return true;
  }

  #setHovered(face) {
    if (this.hovered === face) return;
    this.hovered = face;
    if (face === null) this.canvas.style.cursor = "";
    this.on.changed();
  }

  dispose() {
    this.group.removeFromParent();
    this.place.dispose();
    this.textures.forEach((texture) => texture.dispose());
    this.points.forEach((point) => point.material.dispose());
  }
}

function middleOf({ min, max }, { axis, side }) {
  const middle = new Vector3(...min.map((v, i) => (v + max[i]) / 2));
  return middle.setComponent(axis, (side ? max : min)[axis]);
}

// A white disc with a dark edge and the axis's letter: seen on every ground, told apart without colour.
function letterTexture(letter) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = TEXTURE_PIXELS;
  const context = canvas.getContext("2d");
  const middle = TEXTURE_PIXELS / 2;
  context.beginPath();
  context.arc(middle, middle, middle - 7, 0, 2 * Math.PI);
  context.fillStyle = "#ffffff";
  context.fill();
  context.lineWidth = 9;
  context.strokeStyle = "#0b1220";
  context.stroke();
  context.fillStyle = "#0b1220";
  context.font = `700 ${0.56 * TEXTURE_PIXELS}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(letter, middle, middle - 1);
  return new CanvasTexture(canvas);
}

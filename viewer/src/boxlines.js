// The boxes of the parts in the picture: one shape of twelve edges, stretched for each. A box hangs on
// its part, so that it moves and hides with it; edited ones are dashed, the one in hand is heavier.

import { BufferGeometry, Color, DoubleSide, Float32BufferAttribute, LinearSRGBColorSpace, Mesh, ShaderMaterial, Vector2 } from "three";
import { BoxHandles } from "./handles.js";
import { DECORATION_LAYER } from "./model.js";

const THIN = 1.3; // pixels
const HEAVY = 2.8;
const PERIOD = 1 / 10; // of the dashes, as a share of an edge, however long it is
const DASH = 0.6; // of a period; each edge begins and ends in the middle of one
const SEEN_THROUGH = 0.32; // opacity of the heavy box where parts hide it
const LEAST_SHARE = 1e-6; // a flat box keeps this thickness, as a share of its diagonal

// An edge is a strip with a width in pixels; its part behind the eye is cut off.
const VERTEX = `
attribute vec3 end;
attribute float side, along;
uniform vec2 screen;
uniform float width;
varying float place;
const float NEAR = 1e-4;
void main() {
  vec4 a = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
  vec4 b = projectionMatrix * modelViewMatrix * vec4(end, 1.0);
  if (a.w < NEAR && b.w > NEAR) a = mix(a, b, (NEAR - a.w) / (b.w - a.w));
  if (b.w < NEAR && a.w > NEAR) b = mix(b, a, (NEAR - b.w) / (a.w - b.w));
  vec2 run = (b.xy / b.w - a.xy / a.w) * screen;
  vec2 across = length(run) > 0.0 ? normalize(vec2(-run.y, run.x)) : vec2(0.0);
  a.xy += across * side * width / screen * a.w;
  place = along;
  gl_Position = a;
}`;
const FRAGMENT = `
uniform vec3 colour;
uniform float opacity, period, dash;
varying float place;
void main() {
  if (period > 0.0 && fract(place / period + 0.5 * dash) > dash) discard;
  gl_FragColor = vec4(colour, opacity);
}`;

export class BoxView {
  // `on`: what a drag of a handle does (see handles.js); changed(isDragged).
  constructor(canvas, camera, on) {
    this.model = null;
    this.edges = unitEdges();
    this.canvas = canvas;
    this.screen = { value: new Vector2(1, 1) };
    this.key = "";
    this.shown = new Map(); // part id → { box, lines: Mesh[] }
    this.handles = new BoxHandles(canvas, camera, { ...on, changed: () => on.changed(Boolean(this.handles?.drag)) });
  }

  attach(model) {
    this.clear();
    this.model = model;
    if (!model) this.handles.show(null);
  }

  // `boxes`: [{ id, min, max, colour, isEdited, isHeavy, isShown }]; the heavy one has the handles.
  show(boxes) {
    const key = JSON.stringify(boxes);
    if (key === this.key) return;
    this.clear();
    this.key = key;
    for (const box of boxes) {
      const lines = [this.#lines(box, false), ...(box.isHeavy ? [this.#lines(box, true)] : [])];
      this.shown.set(box.id, { box, lines });
      this.#place(box.id, box);
      this.#anchorOf(box.id).add(...lines);
    }
    const handled = boxes.find(({ isHeavy, isShown }) => isHeavy && isShown);
    this.handles.show(handled ? this.#anchorOf(handled.id) : null, handled ?? null);
  }

  // A part that the file lacks has its box on the whole.
  #anchorOf(id) {
    return this.model.parts.get(id)?.group ?? this.model.group;
  }

  #lines({ colour, isEdited, isHeavy, isShown }, isThrough) {
    const uniforms = { screen: this.screen, width: { value: isHeavy ? HEAVY : THIN }, colour: { value: new Color().setStyle(colour, LinearSRGBColorSpace) },
      opacity: { value: isThrough ? SEEN_THROUGH : 1 }, period: { value: isEdited ? PERIOD : 0 }, dash: { value: DASH } };
    const lines = new Mesh(this.edges, new ShaderMaterial({ vertexShader: VERTEX, fragmentShader: FRAGMENT, uniforms, side: DoubleSide, transparent: isThrough, depthTest: !isThrough, depthWrite: !isThrough }));
    lines.layers.set(DECORATION_LAYER);
    lines.frustumCulled = false;
    lines.visible = isShown;
    lines.renderOrder = isThrough ? 3 : 0;
    return lines;
  }

  // Moves one box and its handles; nothing is made anew.
  move(id, box) {
    if (!this.shown.has(id)) return;
    this.key = "";
    this.#place(id, box);
    this.handles.show(this.#anchorOf(id), box);
  }

  // Before each picture.
  arrange() {
    this.screen.value.set(this.canvas.clientWidth, this.canvas.clientHeight);
    this.handles.arrange();
  }

  #place(id, { min, max }) {
    const held = this.shown.get(id);
    if (!held) return;
    Object.assign(held.box, { min, max });
    const size = max.map((v, i) => v - min[i]);
    const least = LEAST_SHARE * (Math.hypot(...size) || 1);
    for (const lines of held.lines) {
      lines.position.set(...min.map((v, i) => (v + max[i]) / 2));
      lines.scale.set(...size.map((v) => Math.max(v, least)));
    }
  }

  // What is drawn, for tests and scripts.
  list() {
    return [...this.shown.values()].map(({ box: { id, min, max, isEdited, isHeavy, isShown } }) => ({ id, min, max, isEdited, isHeavy, isShown }));
  }

  clear() {
    for (const { lines } of this.shown.values()) {
      for (const line of lines) {
        line.removeFromParent();
        line.material.dispose();
      }
    }
    this.shown.clear();
    this.key = "";
  }

  dispose() {
    this.clear();
    this.edges.dispose();
    this.handles.dispose();
  }
}

// Each edge is four corners of a strip, of the cube of size 1 around the origin.
function unitEdges() {
  const given = { position: [], end: [], side: [], along: [] };
  const index = [];
  for (const [from, to] of cubeEdges()) {
    const first = given.side.length;
    for (const [here, there, along, side] of [[from, to, 0, 1], [from, to, 0, -1], [to, from, 1, -1], [to, from, 1, 1]]) {
      given.position.push(...here);
      given.end.push(...there);
      given.along.push(along);
      given.side.push(side);
    }
    index.push(...[0, 1, 2, 2, 1, 3].map((i) => first + i));
  }
  const edges = new BufferGeometry().setIndex(index);
  for (const [name, values] of Object.entries(given)) edges.setAttribute(name, new Float32BufferAttribute(values, values.length === given.side.length ? 1 : 3));
  return edges;
}

function cubeEdges() {
  const ends = [-0.5, 0.5];
  return [0, 1, 2].flatMap((axis) => ends.flatMap((u) => ends.map((v) => ends.map((end) => {
    const point = [0, 0, 0];
    point[axis] = end;
    point[(axis + 1) % 3] = u;
    point[(axis + 2) % 3] = v;
    return point;
  }))));
}

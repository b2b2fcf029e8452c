// What a point prompt shows in the picture: one mask as stripes over the parts, a ring at the point.
// Both hang on the parts, so that they move and hide with them.

import { BufferGeometry, CanvasTexture, Color, DoubleSide, Float32BufferAttribute, LinearSRGBColorSpace, Mesh, Points, PointsMaterial, ShaderMaterial } from "three";
import { DECORATION_LAYER, loadScene, partIdOf } from "./model.js";
import { nearestPart } from "./surface.js";

const LOOKS = {
  light: { stripe: "#a3005c", gap: "#ffffff" },
  dark: { stripe: "#a3005c", gap: "#ffffff" },
};
const MARKER_PIXELS = 26;
const RING_TEXTURE_PIXELS = 104;

const STRIPE_VERTEX = "void main() { gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0); }";
const STRIPE_FRAGMENT = `
uniform vec3 stripe, gap;
uniform float ratio;
void main() {
  float at = fract((gl_FragCoord.x - gl_FragCoord.y) / (9.0 * ratio));
  float blur = 0.6 / (9.0 * ratio);
  float isStripe = smoothstep(0.0, blur, at) - smoothstep(0.55, 0.55 + blur, at);
  gl_FragColor = mix(vec4(gap, 0.5), vec4(stripe, 0.86), isStripe);
}`;

export class MaskLayer {
  // `changed` is called whenever another picture is needed.
  constructor(changed) {
    this.changed = changed;
    this.model = null;
    this.masks = new Map(); // address of the file → its meshes
    this.shown = null;
    this.point = null;
    this.hit = null; // { point, part } of the last click: where parts touch, a point alone does not tell which
    this.material = new ShaderMaterial({
      vertexShader: STRIPE_VERTEX, fragmentShader: STRIPE_FRAGMENT, transparent: true, depthWrite: false, side: DoubleSide,
      polygonOffset: true, polygonOffsetFactor: -1, polygonOffsetUnits: -1, // in front of the parts that it covers, which step back themselves
      uniforms: { stripe: { value: new Color() }, gap: { value: new Color() }, ratio: { value: 1 } },
    });
    this.marker = buildMarker();
    this.setTheme("light");
  }

  setTheme(theme) {
    for (const name of ["stripe", "gap"]) this.material.uniforms[name].value.setStyle(LOOKS[theme][name], LinearSRGBColorSpace);
  }

  setRatio(ratio) {
    this.material.uniforms.ratio.value = ratio;
  }

  attach(model) {
    this.model = model;
    for (const meshes of this.masks.values()) meshes.forEach((mesh) => this.#hang(mesh));
    this.#placeMarker();
  }

  // Reads a mask's file once; what is shown does not change.
  async load(url, signal) {
    if (this.masks.has(url)) return;
    const scene = await loadScene(url, signal);
    const meshes = [];
    scene.updateMatrixWorld(true);
    scene.traverse((node) => node.isMesh && meshes.push(node));
    const own = meshes.map((source) => this.#meshOf(source));
    if (signal.aborted) return own.forEach((mesh) => mesh.geometry.dispose());
    this.masks.set(url, own);
    if (this.model) own.forEach((mesh) => this.#hang(mesh));
    this.changed();
  }

  #meshOf(source) {
    const mesh = new Mesh(source.geometry, this.material);
    mesh.matrix.copy(source.matrixWorld);
    mesh.matrixAutoUpdate = false;
    mesh.userData.partId = partIdOf(source);
    mesh.layers.set(DECORATION_LAYER);
    mesh.renderOrder = 1;
    mesh.visible = false;
    return mesh;
  }

  #hang(mesh) {
    const part = this.model?.parts.get(mesh.userData.partId);
    if (part) part.group.add(mesh);
    else mesh.removeFromParent();
  }

  // Shows one mask, or none for null.
  show(url) {
    this.shown = url;
    for (const [other, meshes] of this.masks) for (const mesh of meshes) mesh.visible = other === url;
    this.changed();
  }

  // Lets go of all masks but these.
  keep(urls) {
    for (const [url, meshes] of this.masks) {
      if (urls.includes(url)) continue;
      for (const mesh of meshes) {
        mesh.removeFromParent();
        mesh.geometry.dispose();
      }
      this.masks.delete(url);
    }
    this.changed();
  }

  // `point` in the coordinates of the file, or null for none.
  mark(point) {
    if (String(point) === String(this.point)) return;
    this.point = point;
    this.#placeMarker();
    this.changed();
  }

  remember(hit) {
    this.hit = hit;
  }

  #placeMarker() {
    this.marker.removeFromParent();
    if (!this.model || !this.point) return;
    const clicked = this.hit && String(this.hit.point) === String(this.point) ? this.model.parts.get(this.hit.part) : undefined;
    const part = clicked ?? nearestPart(this.model, this.point);
    this.marker.position.set(...this.point);
    part?.group.add(this.marker);
  }

  loaded() {
    return [...this.masks].map(([url, meshes]) => ({ url, isShown: url === this.shown, parts: meshes.map((mesh) => mesh.userData.partId) }));
  }

  markerPoint() {
    return this.marker.parent ? this.point : null;
  }

  dispose() {
    this.keep([]);
    this.material.dispose();
    this.marker.geometry.dispose();
    this.marker.material.map.dispose();
    this.marker.material.dispose();
  }
}

function buildMarker() {
  const place = new BufferGeometry().setAttribute("position", new Float32BufferAttribute([0, 0, 0], 3));
  const marker = new Points(place, new PointsMaterial({ size: MARKER_PIXELS, sizeAttenuation: false, map: ringTexture(), transparent: true, depthTest: false, depthWrite: false }));
  marker.layers.set(DECORATION_LAYER);
  marker.renderOrder = 2;
  marker.frustumCulled = false;
  return marker;
}

// A white ring with dark edges is seen on every ground.
function ringTexture() {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = RING_TEXTURE_PIXELS;
  const context = canvas.getContext("2d");
  const middle = RING_TEXTURE_PIXELS / 2;
  for (const [colour, width] of [["#0b1220", 26], ["#ffffff", 12]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    context.arc(middle, middle, 0.68 * middle, 0, 2 * Math.PI);
    context.stroke();
  }
  context.fillStyle = "#0b1220";
  context.beginPath();
  context.arc(middle, middle, 9, 0, 2 * Math.PI);
  context.fill();
  return new CanvasTexture(canvas);
}

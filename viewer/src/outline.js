// Lines between parts, the outline of the selection, and picking: all from one picture in which each
// pixel holds the number of the part that is seen there.

import { Color, DoubleSide, LinearFilter, LinearSRGBColorSpace, NearestFilter, ShaderMaterial, Vector2, WebGLRenderTarget } from "three";
import { FullScreenQuad } from "three/examples/jsm/postprocessing/Pass.js";
import { DECORATION_LAYER, SURFACE_LAYER } from "./model.js";

const ID_VERTEX = `void main() { gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0); }`;
const ID_FRAGMENT = `uniform vec4 mark; void main() { gl_FragColor = mark; }`;

const COMPOSE_FRAGMENT = `
varying vec2 vUv;
uniform sampler2D ids, mask;
uniform vec2 texel;
uniform vec3 line, accent;
uniform float lineAlpha, hasSelection, ratio;

float differs(vec4 a, vec4 b) { return step(0.001, abs(a.r - b.r) + abs(a.g - b.g) + abs(a.a - b.a)); }

void main() {
  vec4 here = texture2D(ids, vUv);
  float edge = 0.0, around = 0.0;
  for (int i = 0; i < 12; i++) {
    float angle = 6.2831853 * (float(i) + 0.5) / 12.0;
    vec2 arm = vec2(cos(angle), sin(angle)) * texel;
    edge += differs(here, texture2D(ids, vUv + arm * ratio));
    if (hasSelection > 0.5) around += texture2D(mask, vUv + arm * ratio * 2.3).r;
  }
  float inner = smoothstep(0.05, 0.55, edge / 12.0) * lineAlpha * (here.a > 0.0 ? 1.0 : 0.55);
  vec4 colour = vec4(line * inner, inner);
  if (hasSelection > 0.5) {
    float selected = texture2D(mask, vUv).r;
    float hidden = selected * (1.0 - step(0.5, here.b));
    vec2 p = vUv / texel / ratio;
    float stripe = step(0.5, fract((p.x + p.y) / 7.0));
    float veil = hidden * (0.16 + 0.26 * stripe);
    colour = mix(colour, vec4(accent, 1.0), veil);
    float halo = (1.0 - selected) * smoothstep(0.06, 0.42, around / 12.0);
    colour = mix(colour, vec4(accent, 1.0), halo);
  }
  gl_FragColor = colour;
}`;

export class Outline {
  constructor() {
    const nearest = { minFilter: NearestFilter, magFilter: NearestFilter };
    this.ids = new WebGLRenderTarget(1, 1, nearest);
    this.mask = new WebGLRenderTarget(1, 1, { minFilter: LinearFilter, magFilter: LinearFilter, depthBuffer: false });
    this.marker = new ShaderMaterial({ vertexShader: ID_VERTEX, fragmentShader: ID_FRAGMENT, side: DoubleSide, uniforms: { mark: { value: [0, 0, 0, 0] } } });
    this.quad = new FullScreenQuad(
      new ShaderMaterial({
        vertexShader: "varying vec2 vUv; void main() { vUv = uv; gl_Position = vec4(position.xy, 0.0, 1.0); }",
        fragmentShader: COMPOSE_FRAGMENT,
        transparent: true,
        premultipliedAlpha: true,
        depthTest: false,
        depthWrite: false,
        uniforms: {
          ids: { value: this.ids.texture },
          mask: { value: this.mask.texture },
          texel: { value: new Vector2() },
          line: { value: new Color() },
          accent: { value: new Color() },
          lineAlpha: { value: 0.6 },
          hasSelection: { value: 0 },
          ratio: { value: 1 },
        },
      }),
    );
    this.order = []; // part ids; a pixel holds the place in this list + 1
    this.isFresh = false;
    this.pixel = new Uint8Array(4);
  }

  resize(width, height, ratio) {
    this.ids.setSize(width, height);
    this.mask.setSize(width, height);
    this.quad.material.uniforms.texel.value.set(1 / width, 1 / height);
    this.quad.material.uniforms.ratio.value = ratio;
    this.isFresh = false;
  }

  colours({ line, lineAlpha, accent }) {
    const { uniforms } = this.quad.material;
    uniforms.line.value.setStyle(line, LinearSRGBColorSpace); // drawn as they are, after the lit picture
    uniforms.accent.value.setStyle(accent, LinearSRGBColorSpace);
    uniforms.lineAlpha.value = lineAlpha;
  }

  // Each surface tells its own number when it is drawn with the marking material.
  attach(model) {
    this.order = [...model.parts.keys()];
    this.order.forEach((id, place) => {
      const part = model.parts.get(id);
      const mark = [((place + 1) & 255) / 255, ((place + 1) >> 8) / 255, 0, 1];
      part.mark = mark;
      for (const mesh of part.meshes) {
        mesh.onBeforeRender = (_renderer, _scene, _camera, _geometry, material) => {
          if (material !== this.marker) return;
          material.uniforms.mark.value = mark;
          material.uniformsNeedUpdate = true;
        };
      }
    });
    this.isFresh = false;
  }

  renderIds(renderer, scene, camera, model, selected) {
    for (const part of model.parts.values()) part.mark[2] = selected.has(part.id) ? 1 : 0;
    this.#renderMarked(renderer, scene, camera, this.ids);
    this.quad.material.uniforms.hasSelection.value = 0;
    if (selected.size > 0) {
      const shown = [...model.parts.values()].map((part) => [part.group, part.group.visible]);
      for (const part of model.parts.values()) if (!selected.has(part.id)) part.group.visible = false;
      const marks = [...model.parts.values()].map((part) => [part.mark, part.mark[0]]);
      marks.forEach(([mark]) => (mark[0] = 1));
      this.#renderMarked(renderer, scene, camera, this.mask);
      marks.forEach(([mark, value]) => (mark[0] = value));
      shown.forEach(([group, visible]) => (group.visible = visible));
      this.quad.material.uniforms.hasSelection.value = 1;
    }
    this.isFresh = true;
  }

  #renderMarked(renderer, scene, camera, target) {
    scene.overrideMaterial = this.marker;
    camera.layers.set(SURFACE_LAYER);
    renderer.setRenderTarget(target);
    renderer.setClearColor(0, 0);
    renderer.clear();
    renderer.render(scene, camera);
    renderer.setRenderTarget(null);
    camera.layers.enable(DECORATION_LAYER);
    scene.overrideMaterial = null;
  }

  compose(renderer) {
    this.quad.render(renderer);
  }

  // The part at a pixel of the picture (from the top left), or null.
  pick(renderer, x, y) {
    const { width, height } = this.ids;
    if (x < 0 || y < 0 || x >= width || y >= height) return null;
    renderer.readRenderTargetPixels(this.ids, Math.floor(x), height - 1 - Math.floor(y), 1, 1, this.pixel);
    return this.#decode(this.pixel, 0);
  }

  // For tests and scripts: a pixel where the part is seen, well inside it, or null.
  findPixel(renderer, id) {
    const { width, height } = this.ids;
    const all = new Uint8Array(width * height * 4);
    renderer.readRenderTargetPixels(this.ids, 0, 0, width, height, all);
    let best = null;
    let bestMargin = -1;
    for (let y = 0; y < height; y += 3) {
      for (let x = 0; x < width; x += 3) {
        if (this.#decode(all, 4 * (y * width + x)) !== id) continue;
        const margin = this.#margin(all, x, y, id);
        if (margin > bestMargin) [best, bestMargin] = [{ x, y: height - 1 - y }, margin];
      }
    }
    return best;
  }

  #margin(all, x, y, id) {
    const { width, height } = this.ids;
    let margin = 0;
    for (; margin < 24; margin += 2) {
      for (const [dx, dy] of [[-1, 0], [1, 0], [0, -1], [0, 1]]) {
        const u = x + dx * (margin + 2);
        const v = y + dy * (margin + 2);
        if (u < 0 || v < 0 || u >= width || v >= height || this.#decode(all, 4 * (v * width + u)) !== id) return margin;
      }
    }
    return margin;
  }

  #decode(bytes, at) {
    if (bytes[at + 3] === 0) return null;
    return this.order[bytes[at] + 256 * bytes[at + 1] - 1] ?? null;
  }

  dispose() {
    this.ids.dispose();
    this.mask.dispose();
    this.marker.dispose();
    this.quad.material.dispose();
    this.quad.dispose();
  }
}

// A soft shadow on the ground: the shown parts seen from below, blurred. Drawn anew only when they change.

import { DoubleSide, LinearFilter, Mesh, MeshBasicMaterial, NoBlending, OrthographicCamera, PlaneGeometry, ShaderMaterial, WebGLRenderTarget } from "three";
import { FullScreenQuad } from "three/examples/jsm/postprocessing/Pass.js";
import { DECORATION_LAYER, SURFACE_LAYER } from "./model.js";

const PIXELS = 256;
const SOFTNESS = [3.2, 1.6]; // blur radii in pixels, wide first

export class GroundShadow {
  constructor() {
    const options = { minFilter: LinearFilter, magFilter: LinearFilter };
    this.front = new WebGLRenderTarget(PIXELS, PIXELS, options);
    this.back = new WebGLRenderTarget(PIXELS, PIXELS, { ...options, depthBuffer: false });
    this.camera = new OrthographicCamera(-1, 1, 1, -1, 0, 1);
    this.camera.up.set(0, 0, -1);
    this.depth = new ShaderMaterial({
      vertexShader: "void main() { gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0); }",
      fragmentShader: "void main() { float near = 1.0 - gl_FragCoord.z; gl_FragColor = vec4(0.0, 0.0, 0.0, pow(near, 1.4)); }",
      side: DoubleSide,
      blending: NoBlending,
    });
    this.blur = new FullScreenQuad(
      new ShaderMaterial({
        vertexShader: "varying vec2 vUv; void main() { vUv = uv; gl_Position = vec4(position.xy, 0.0, 1.0); }",
        fragmentShader: `varying vec2 vUv; uniform sampler2D source; uniform vec2 arm;
          void main() {
            float sum = 0.0, weights = 0.0;
            for (int i = -6; i <= 6; i++) {
              float weight = exp(-float(i * i) / 14.0);
              sum += weight * texture2D(source, vUv + float(i) * arm).a;
              weights += weight;
            }
            gl_FragColor = vec4(0.0, 0.0, 0.0, sum / weights);
          }`,
        blending: NoBlending,
        depthTest: false,
        uniforms: { source: { value: null }, arm: { value: [0, 0] } },
      }),
    );
    this.plane = new Mesh(
      new PlaneGeometry(1, 1),
      new MeshBasicMaterial({ color: 0x000000, map: this.front.texture, transparent: true, opacity: 0.4, depthWrite: false }),
    );
    this.plane.rotation.x = -Math.PI / 2;
    this.plane.layers.set(DECORATION_LAYER);
    this.plane.renderOrder = -1;
    this.isFresh = false;
  }

  // `bounds`: world box of what is shown.
  update(renderer, scene, bounds) {
    const width = bounds.max[0] - bounds.min[0];
    const depth = bounds.max[2] - bounds.min[2];
    const height = bounds.max[1] - bounds.min[1];
    const side = Math.max(width, depth, 0.35 * height, 1e-3) * 1.5;
    const centre = [0, 2].map((i) => (bounds.min[i] + bounds.max[i]) / 2);
    const floor = bounds.min[1] - 0.004;
    Object.assign(this.camera, { left: -side / 2, right: side / 2, top: side / 2, bottom: -side / 2, near: 0, far: Math.max(0.55 * height, 0.05) });
    this.camera.position.set(centre[0], floor, centre[1]);
    this.camera.lookAt(centre[0], floor + 1, centre[1]);
    this.camera.layers.set(SURFACE_LAYER);
    this.camera.updateProjectionMatrix();
    this.plane.position.set(centre[0], floor, centre[1]);
    this.plane.scale.set(-side, side, 1); // seen from below the picture is mirrored
    this.#draw(renderer, scene);
    this.isFresh = true;
  }

  #draw(renderer, scene) {
    scene.overrideMaterial = this.depth;
    renderer.setRenderTarget(this.front);
    renderer.setClearColor(0, 0);
    renderer.clear();
    renderer.render(scene, this.camera);
    scene.overrideMaterial = null;
    for (const softness of SOFTNESS) {
      this.#pass(renderer, this.front, this.back, [softness / PIXELS, 0]);
      this.#pass(renderer, this.back, this.front, [0, softness / PIXELS]);
    }
    renderer.setRenderTarget(null);
  }

  #pass(renderer, from, to, arm) {
    this.blur.material.uniforms.source.value = from.texture;
    this.blur.material.uniforms.arm.value = arm;
    renderer.setRenderTarget(to);
    this.blur.render(renderer);
  }

  dispose() {
    this.front.dispose();
    this.back.dispose();
    this.depth.dispose();
    this.blur.material.dispose();
    this.blur.dispose();
    this.plane.geometry.dispose();
    this.plane.material.dispose();
  }
}

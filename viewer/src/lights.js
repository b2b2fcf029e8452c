// The light on the parts and the colours of lines and shadow, in both themes.

import { DirectionalLight, HemisphereLight } from "three";
import { DECORATION_LAYER } from "./model.js";

export const LOOKS = {
  light: { line: "#0b1220", lineAlpha: 0.72, accent: "#e8590c", dim: "#d3d9e3", wire: "#0b1220", shadow: 0.55, sky: "#ffffff", ground: "#b9c2d2" },
  dark: { line: "#04070d", lineAlpha: 0.85, accent: "#ffb13d", dim: "#3a4354", wire: "#e8eefb", shadow: 0.85, sky: "#f4f7ff", ground: "#8e99ad" },
};

// Returns the sky, whose colours are the theme's.
export function addLights(scene, camera) {
  const sky = new HemisphereLight(0xffffff, 0xb9c2d2, 1.65);
  const key = new DirectionalLight(0xffffff, 1.9);
  const fill = new DirectionalLight(0xdfe8ff, 0.5);
  key.position.set(-0.7, 1.1, 1.2); // both travel with the camera, so that what is in front is always lit
  fill.position.set(1.3, -0.2, 0.5);
  camera.add(key, fill, key.target, fill.target);
  key.target.position.set(0, 0, -1);
  fill.target.position.set(0, 0, -1);
  for (const light of [sky, key, fill]) light.layers.enable(DECORATION_LAYER);
  scene.add(sky);
  return sky;
}

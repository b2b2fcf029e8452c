// Cut surfaces: what is new on a closed part. Hatched in the part's own colour, and told in a legend.

import { el, iconButton } from "./dom.js";

const STRIPE_PIXELS = 9;
const HATCHING = `
float at = fract((gl_FragCoord.x + gl_FragCoord.y) / cutStep);
float soft = 0.9 / cutStep;
float stripe = smoothstep(0.0, soft, at) - smoothstep(0.4, 0.4 + soft, at);
vec3 marked = mix(mix(diffuseColor.rgb, vec3(1.0), 0.5), diffuseColor.rgb * 0.38, stripe);
diffuseColor.rgb = mix(diffuseColor.rgb, marked, cutMark);`;

// What all materials of a model's cut surfaces share: 1 or 0 for marked or not, pixels between stripes.
export function cutLook() {
  return { cutMark: { value: 1 }, cutStep: { value: STRIPE_PIXELS } };
}

// Lets a material follow another's colour and glow, with dark stripes on a lighter ground.
export function hatch(material, followed, look) {
  const { onBeforeCompile } = material;
  material.color = followed.color;
  material.emissive = followed.emissive;
  material.onBeforeCompile = (shader, renderer) => {
    onBeforeCompile(shader, renderer);
    Object.assign(shader.uniforms, look);
    shader.fragmentShader = `uniform float cutMark, cutStep;\n${shader.fragmentShader}`.replace("#include <color_fragment>", `#include <color_fragment>\n${HATCHING}`);
  };
  material.customProgramCacheKey = () => "hatched"; // else it shares the plain one's program
  return material;
}

// The switch and the legend; both are there only when the picture has cut surfaces.
export class CutMarks {
  constructor(onToggle) {
    this.toggle = iconButton("cut", "Mark cut surfaces (X)", { toggle: true, onClick: onToggle });
    this.legend = el("p", { class: "pv-legend", hidden: true }, el("span", { class: "pv-legend-sign", "aria-hidden": "true" }), el("span", { text: "Cut surface" }));
  }

  show(stage, isOn) {
    const model = stage?.model ?? null;
    const hasCuts = model?.hasCuts ?? false;
    this.toggle.hidden = !hasCuts;
    this.toggle.setAttribute("aria-pressed", String(isOn));
    this.legend.hidden = !hasCuts || !isOn;
    if (!hasCuts) return;
    const { cutMark, cutStep } = model.cutLook;
    const [mark, step] = [isOn ? 1 : 0, STRIPE_PIXELS * (stage.ratio ?? 1)];
    if (cutMark.value === mark && cutStep.value === step) return;
    cutMark.value = mark;
    cutStep.value = step;
    stage.requestRender(false);
  }
}

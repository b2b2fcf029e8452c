// Builds ../assets/viewer from src/: one minified script, one stylesheet, the licences of what is inside.
import { build } from "esbuild";
import { copyFile, mkdir, stat } from "node:fs/promises";

const out = new URL("../assets/viewer/", import.meta.url).pathname;
const here = new URL("./", import.meta.url).pathname;

await mkdir(out, { recursive: true });
await build({
  entryPoints: [`${here}src/viewer.js`, `${here}src/viewer.css`],
  outdir: out,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2021", "chrome100", "firefox100", "safari15.4"],
  legalComments: "none",
  banner: { js: "/* Partwise part viewer, Apache-2.0. Contains three.js, MIT: see three.LICENSE.txt */" },
});
await copyFile(`${here}node_modules/three/LICENSE`, `${out}three.LICENSE.txt`);
const { size } = await stat(`${out}viewer.js`);
console.log(`viewer.js: ${(size / 1024).toFixed(0)} KiB`);

// The module in node. Arguments: the site, the photo, the folder of the command's explanation, its capsule, and where a capsule of the module goes.
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import vm from "node:vm";
import { gunzipSync } from "node:zlib";
import { arrays, explanations } from "./same.mjs";

const [site, photo, command, capsule, written] = process.argv.slice(2);
const page = readFileSync(`${site}/index.html`, "utf8");
const glue = page.match(/<script type="text\/plain" id="worker">([^]*?)"use strict";\n\/\/ The worker/)[1];
const bytes = readFileSync(photo);
const npy = (name) => {
  const file = readFileSync(`${command}/${name}`);
  return new Float32Array(file.buffer.slice(file.byteOffset + 10 + file.readUInt16LE(8), file.byteOffset + file.length));
};
const now = () => performance.now();
const ask = (engine, asked) => engine.explain("chelsea.png", bytes, JSON.stringify(asked));

const modules = { "with SIMD": gunzipSync(readFileSync(`${site}/decomcam.wasm.gz`)) };
if (existsSync(`${site}/decomcam-plain.wasm`)) modules["without SIMD"] = readFileSync(`${site}/decomcam-plain.wasm`);
for (const [name, code] of Object.entries(modules)) {
  let steps = 0;
  globalThis.progressed = () => { steps += 1; };
  const decomcam = vm.runInThisContext(`(() => { ${glue}; return decomcam; })()`);
  let start = now();
  await decomcam({ module_or_path: code });
  const engine = new decomcam.Engine();
  const times = [`ready in ${(now() - start).toFixed(0)} ms`];
  start = now();
  engine.load();
  times.push(`networks ${(now() - start).toFixed(0)} ms`);
  const asked = { text: "a cat" };
  for (const [what, question] of [["first", asked], ["again", asked], ["without the check", { ...asked, unchecked: true }], ["one size without it", { ...asked, unchecked: true, scales: 1 }]]) {
    start = now();
    ask(engine, question).free();
    times.push(`${what} ${(now() - start).toFixed(0)} ms`);
  }
  console.log(`${name}: ${times.join(", ")}`);
  assert.ok(steps > 0, "progress is told");

  const answer = ask(engine, asked);
  const furthest = explanations(JSON.parse(answer.json()), JSON.parse(readFileSync(`${command}/explanation.json`, "utf8")));
  console.log(`${name}: every number of explanation.json at most ${furthest.toExponential(1)} from the command's`);
  console.log(`${name}: map ${arrays(answer.grid(), npy("saliency.npy"))}`);
  assert.match(answer.page(), /<main>/);
  assert.equal(answer.overlay()[1], 0x50, "a PNG");

  // The core: what either side recorded, the other computes to the last bit.
  const replayed = decomcam.replay(readFileSync(capsule)).trim().split("\n");
  assert.ok(replayed.length > 5 && replayed.every((line) => line.endsWith("equal")), replayed.join("\n"));
  console.log(`${name}: capsule of the command, computed again here: ${replayed.length} stages, 0 differ`);
  writeFileSync(written, ask(engine, { ...asked, method: "aligned" }).capsule());

  // Refusals are errors with the library's words, after which the module goes on.
  assert.throws(() => engine.explain("notes.txt", new Uint8Array([104, 105]), JSON.stringify(asked)), /notes\.txt/);
  assert.throws(() => ask(engine, { text: "" }), Error);
  assert.match(JSON.parse(ask(engine, { unchecked: true }).json()).text, /cat/, "what the model sees");
  assert.throws(() => ask(engine, { ...asked, method: "magic" }), /magic/);
  assert.throws(() => ask(engine, { ...asked, method: "eigen-cam", affinity: true }), Error);
  assert.throws(() => ask(engine, { ...asked, colour: "red" }), /colour/);
  const contrast = JSON.parse(ask(engine, { ...asked, versus: "a dog", unchecked: true }).json());
  assert.equal(contrast.versus, "a dog");
  assert.equal(JSON.parse(ask(engine, { ...asked, method: "grad-cam" }).json()).method, "grad-cam");
  assert.throws(() => decomcam.fail(), /asked to fail/);
}

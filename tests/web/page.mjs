// The page in a browser. Arguments: the browser, the site, the folder of tests, the command's explanation, and a folder for pictures or nothing.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { crc32, deflateSync } from "node:zlib";
import puppeteer from "puppeteer-core";
import { accessible, acts, fits } from "./acts.mjs";
import { explanations } from "./same.mjs";

const [executablePath, site, tests, expected, shots] = process.argv.slice(2);
const photo = join(tests, "photos/chelsea.png");
const axe = readFileSync("node_modules/axe-core/axe.min.js", "utf8");
const theirs = JSON.parse(readFileSync(expected, "utf8"));
const downloads = mkdtempSync(join(tmpdir(), "decomcam-web-"));
const patience = { timeout: 240000 };

// A server that can damage what it serves.
let damage = (bytes) => bytes;
const server = createServer((request, response) => {
  const name = request.url.split("?")[0];
  const file = join(site, name === "/" ? "index.html" : name);
  if (!existsSync(file)) return response.writeHead(404).end();
  const bytes = readFileSync(file);
  response.writeHead(200, { "content-type": file.endsWith(".html") ? "text/html" : "application/octet-stream" });
  return response.end(file.endsWith(".html") ? bytes : damage(bytes));
}).listen(0, "127.0.0.1");
await new Promise((ready) => server.once("listening", ready));
const served = `http://127.0.0.1:${server.address().port}/`;

const browser = await puppeteer.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
  protocolTimeout: patience.timeout,
});

async function opened(url, { width = 1280, scheme = "light", fails = false } = {}) {
  const tab = await browser.newPage();
  tab.complaints = [];
  tab.on("console", (message) => { if (message.type() === "error") tab.complaints.push(message.text()); });
  tab.on("pageerror", (error) => tab.complaints.push(String(error)));
  tab.on("request", (request) => {
    const own = request.url().startsWith(url.startsWith("file:") ? "file:" : served) && request.method() === "GET";
    if (!own && !/^(data|blob):/.test(request.url())) tab.complaints.push(`fetches ${request.url()}`);
  });
  await tab.setViewport({ width, height: 900 });
  await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  const start = performance.now();
  await tab.goto(url, { waitUntil: "load" });
  if (!fails) await tab.waitForSelector("#explain:enabled", patience);
  tab.loaded = performance.now() - start;
  if (!fails) tab.whole = await (await tab.waitForFunction(() => globalThis.decomcam.loaded, patience)).jsonValue();
  return tab;
}

const complaint = async (tab) => (await tab.waitForSelector("#error:not([hidden])", patience)).evaluate((error) => error.textContent);
const status = (tab) => tab.$eval("#status", (state) => state.textContent);
const ask = async (tab, text) => {
  await tab.$eval("#text", (field) => { field.value = ""; });
  await tab.type("#text", text);
  await tab.keyboard.press("Enter");
};
const answered = (tab) => tab.waitForSelector("#answer canvas.map", patience);
const settled = (tab) => tab.waitForSelector("#explain:enabled", patience);

async function saved(tab, label, name) {
  await (await tab.createCDPSession()).send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: downloads });
  await tab.$$eval(".saves button", (buttons, label) => buttons.find((button) => button.textContent === label).click(), label);
  for (let turn = 0; turn < 500 && !existsSync(join(downloads, name)); turn += 1) await new Promise((done) => setTimeout(done, 20));
  return readFileSync(join(downloads, name));
}

// One explanation at each width and in each scheme, from the server and from the disk.
const pages = [["served", served], ["from the disk", pathToFileURL(join(site, "decomcam.html")).href]];
if (existsSync(join(site, "decomcam-plain.html"))) pages.push(["from the disk, without SIMD", pathToFileURL(join(site, "decomcam-plain.html")).href]);
for (const [at, [name, url]] of pages.entries()) {
  for (const [width, scheme] of at === 0 ? [[390, "light"], [1280, "dark"], [1280, "light"]] : [[390, "dark"]]) {
    const tab = await opened(url, { width, scheme });
    await fits(tab);
    let minor = await accessible(tab, axe);
    if (shots) await tab.screenshot({ path: `${shots}/${at}-${width}-${scheme}-empty.png`, fullPage: true });
    await (await tab.$("#file")).uploadFile(photo);
    await ask(tab, "a cat");
    await answered(tab);
    const first = await status(tab);
    await settled(tab);
    await tab.keyboard.press("Tab");
    await tab.click("#explain");
    await tab.waitForFunction(() => /^Done/.test(document.getElementById("status").textContent), patience);
    const again = await status(tab);
    if (at === 0 && width === 1280 && scheme === "light") {
      const furthest = explanations(JSON.parse(await saved(tab, "Save the numbers", "explanation.json")), theirs);
      console.log(`${name}: explanation.json at most ${furthest.toExponential(1)} from the command's`);
      for (const [label, file] of [["Save the picture", "overlay.png"], ["Save what is shown", "shown.png"]]) assert.equal(String((await saved(tab, label, file)).subarray(1, 4)), "PNG");
      assert.match(String(await saved(tab, "Save the report", "report.html")), /enliven\(document\)/);
    }
    await acts(tab);
    await fits(tab);
    if (shots) await tab.screenshot({ path: `${shots}/${at}-${width}-${scheme}.png`, fullPage: true });
    await tab.$$eval("details", (all) => all.forEach((more) => { more.open = true; }));
    minor += await accessible(tab, axe);
    assert.deepEqual(tab.complaints, []);
    console.log(`${name}, ${width} pixels, ${scheme}: ready in ${tab.loaded.toFixed(0)} ms, all networks loaded in ${tab.whole.toFixed(0)} ms; first ${first} Again ${again} No error; axe-core: ${minor} minor findings`);
    await tab.close();
  }
}

// How long an explanation takes: the browser compiles what is used often a second time, so the first ones take longer.
{
  const tab = await opened(served);
  await (await tab.$("#file")).uploadFile(photo);
  await tab.type("#text", "a cat");
  for (const effort of await tab.$$eval("#effort option", (options) => options.map(({ value }) => value))) {
    await tab.select("#effort", effort);
    const seconds = [];
    for (let turn = 0; turn < 6; turn += 1) {
      await tab.$eval("#status", (state) => { state.textContent = ""; });
      await tab.click("#explain");
      await tab.waitForFunction(() => /^Done/.test(document.getElementById("status").textContent), patience);
      seconds.push((await status(tab)).match(/[\d.]+/)[0]);
      await settled(tab);
    }
    console.log(`served, ${effort}: ${seconds.join(", ")} s`);
  }
  await tab.close();
}

// What goes wrong, and goes on.
{
  const tab = await opened(served);
  await tab.click("#explain");
  assert.match(await complaint(tab), /choose a photo/);
  const notes = join(downloads, "notes.png");
  writeFileSync(notes, "no photo");
  await (await tab.$("#file")).uploadFile(notes);
  await ask(tab, "a cat");
  await tab.waitForFunction(() => /notes\.png/.test(document.getElementById("error").textContent), patience);
  await settled(tab);

  // Dropped, pasted.
  const bytes = [...readFileSync(photo)];
  for (const kind of ["drop", "paste"]) {
    await tab.evaluate((kind, bytes) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], `${kind}.png`, { type: "image/png" }));
      dispatchEvent(kind === "drop" ? new DragEvent("drop", { dataTransfer: data }) : new ClipboardEvent("paste", { clipboardData: data }));
    }, kind, bytes);
    await tab.waitForFunction((kind) => document.getElementById("called").textContent === `${kind}.png`, patience, kind);
  }

  // Stopped.
  await tab.click("#explain");
  await (await tab.waitForSelector("#cancel:not([hidden])", patience)).click();
  await tab.waitForFunction(() => document.getElementById("status").textContent === "Stopped.", patience);
  await settled(tab);

  // A panic.
  await tab.evaluate(() => { globalThis.decomcam.fail(); });
  assert.match(await complaint(tab), /stopped unexpectedly.*asked to fail/s);
  await settled(tab);
  await tab.select("#method", "grad-cam");
  await tab.type("#versus", "a dog");
  await tab.click("#explain");
  await answered(tab);
  await settled(tab);
  assert.match(await tab.$eval("#answer h2.title", (title) => title.textContent), /a dog/);

  // The camera, a synthetic one here.
  await tab.click("#camera");
  await tab.waitForFunction(() => document.querySelector("#viewfinder video").videoWidth > 0, patience);
  await tab.click("#shoot");
  await tab.waitForFunction(() => document.getElementById("called").textContent === "camera.png", patience);
  assert.deepEqual(tab.complaints, []);
  console.log("no photo, no text, a file that is no photo, drop, paste, stop, panic, contrast, camera: as they should be");
  await tab.close();
}

// Networks of somebody's own, and files that are none.
{
  const tab = await opened(served, { width: 390 });
  const put = (name, bytes) => {
    writeFileSync(join(downloads, name), bytes);
    return join(downloads, name);
  };
  const bring = async (...files) => {
    await (await tab.$("#bring")).uploadFile(...files);
    await tab.waitForFunction(() => document.getElementById("bring").value === "" && document.querySelector("#explain:enabled"), patience);
    return tab.$eval("#error", (error) => (error.hidden ? "" : error.textContent));
  };
  const using = () => tab.$eval("#network", (name) => name.textContent);
  const explained = async (expected) => {
    await tab.click("#explain");
    await tab.waitForFunction((expected) => document.querySelector("#answer h2.title")?.textContent.includes(expected), patience, expected);
    await settled(tab);
  };
  const network = join(tests, "questions/classifier.onnx");
  const names = put("names.txt", "tabby\nred fox\nowl\nkit fox\n");
  assert.match(await bring(put("broken.onnx", readFileSync(network).subarray(0, 900))), /broken\.onnx/);
  assert.match(await bring(put("empty.onnx", "")), /empty\.onnx/);
  assert.match(await bring(put("weights.safetensors", "x")), /weights\.safetensors.*ONNX/);
  assert.match(await bring(names), /names\.txt.*network of your own/);
  assert.match(await bring(network, put("two.txt", "one\ntwo\n")), /names.*found 2/s);
  assert.equal(await using(), "the bundled one", "a network that is refused changes nothing");
  assert.equal(await bring(network), "");
  assert.equal(await using(), "classifier.onnx");
  await (await tab.$("#file")).uploadFile(photo);
  await explained("\"3\"");
  assert.equal(await bring(names), "");
  assert.equal(await using(), "classifier.onnx with names.txt");
  await explained("kit fox");
  await tab.type("#text", "red fox");
  await explained("red fox");
  await fits(tab);
  if (shots) await tab.screenshot({ path: `${shots}/own.png`, fullPage: true });
  await accessible(tab, axe);
  assert.equal(await bring(join(tests, "tflite/blocks.tflite")), "");
  assert.equal(await using(), "blocks.tflite");
  await tab.click("#bundled");
  await tab.waitForFunction(() => document.getElementById("network").textContent === "the bundled one", patience);
  await settled(tab);

  // A picture of more pixels than are taken, said in a hundred bytes.
  const chunk = (kind, data) => {
    const body = Buffer.concat([Buffer.from(kind), data]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, sum]);
  };
  const header = Buffer.from([0, 0, 234, 96, 0, 0, 234, 96, 8, 2, 0, 0, 0]);
  const huge = put("huge.png", Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), chunk("IHDR", header), chunk("IDAT", deflateSync(Buffer.alloc(100))), chunk("IEND", Buffer.alloc(0))]));
  await (await tab.$("#file")).uploadFile(huge);
  await tab.click("#explain");
  assert.match(await complaint(tab), /huge\.png.*100 megapixels.*scale it down/);
  await settled(tab);
  assert.deepEqual(tab.complaints, []);
  console.log("a classifier, its labels, a .tflite, a broken and an empty network, weights of another kind, labels alone or too few, a huge picture: as they should be");
  await tab.close();
}

// Methods side by side.
if (process.env.COMPARE !== "0") {
  const tab = await opened(served, { width: 390 });
  await (await tab.$("#file")).uploadFile(photo);
  await tab.type("#text", "a cat");
  await tab.click("#compare");
  await tab.waitForSelector(".comparison img", { timeout: 240000 });
  await fits(tab);
  if (shots) await tab.screenshot({ path: `${shots}/compare.png`, fullPage: true });
  await accessible(tab, axe);
  assert.match(await tab.$eval(".comparison pre", (table) => table.textContent), /layer-cam/);
  assert.deepEqual(tab.complaints, []);
  console.log(`methods side by side: ${await status(tab)}`);
  await tab.close();
}

// Damaged on its way: cut off, a bit turned, another file.
for (const [what, spoilt] of [
  ["cut off", (bytes) => bytes.subarray(0, bytes.length / 2)],
  ["a bit turned", (bytes) => { bytes[bytes.length / 2 | 0] ^= 16; return bytes; }],
  ["another file", () => Buffer.from("<!doctype html>")],
]) {
  damage = spoilt;
  const tab = await opened(served, { fails: true });
  assert.match(await complaint(tab), /damaged or incomplete/);
  assert.ok(await tab.$("#explain:disabled"));
  console.log(`${what}: ${await complaint(tab)}`);
  await tab.close();
}
await browser.close();
server.close();

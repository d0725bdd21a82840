// What tests/report/run asks of a report. Arguments: the browser, the page, and a folder for pictures or nothing.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";

const [executablePath, page, shots] = process.argv.slice(2);
const axe = readFileSync("node_modules/axe-core/axe.min.js", "utf8");
const browser = await puppeteer.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });

for (const width of [390, 1280]) {
  for (const scheme of ["light", "dark"]) {
    const tab = await browser.newPage();
    const complaints = [];
    tab.on("console", (message) => { if (message.type() === "error") complaints.push(message.text()); });
    tab.on("pageerror", (error) => complaints.push(String(error)));
    tab.on("request", (request) => { if (!/^(file|data):/.test(request.url())) complaints.push(`fetches ${request.url()}`); });
    await tab.setViewport({ width, height: 900 });
    await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await tab.goto(pathToFileURL(page).href, { waitUntil: "load" });
    const painted = () => tab.$eval(".map", (map) => {
      const { data } = map.getContext("2d").getImageData(0, 0, map.width, map.height);
      let sum = 0;
      for (let at = 3; at < data.length; at += 4) sum += data[at];
      return `${map.width} ${sum}`;
    });
    const settled = async (before) => {
      for (let turn = 0; turn < 100; turn += 1) {
        const now = await painted();
        if (now !== before) return now;
        await new Promise((done) => setTimeout(done, 20));
      }
      return before;
    };
    let state = await settled("300 0");
    assert.notEqual(state, "300 0", "the map is drawn");
    const changes = async (what, act) => {
      const before = state;
      await act();
      state = await settled(before);
      assert.notEqual(state, before, what);
    };
    const slide = (id, value) => tab.$eval(id, (slider, value) => {
      slider.value = value;
      slider.dispatchEvent(new Event("input"));
    }, value);
    await changes("opacity acts", () => slide("#opacity", "90"));
    await changes("the threshold acts", () => slide("#threshold", "50"));
    assert.equal(await tab.$eval("output[for=threshold]", (shown) => shown.textContent), "50%");
    if (await tab.$(".part")) {
      await changes("a part is shown by keyboard", async () => {
        await tab.focus(".part");
        await tab.keyboard.press("Enter");
      });
      assert.equal(await tab.$eval(".part", (part) => part.getAttribute("aria-pressed")), "true");
      assert.match(await tab.$eval(".showing", (shown) => shown.textContent), /part #/);
      await tab.$eval(".part", (part) => part.blur());
      await changes("Escape shows the whole map again", () => tab.keyboard.press("Escape"));
    }
    const wide = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${wide} pixels wider than a window of ${width}`);
    if (shots) await tab.screenshot({ path: `${shots}/${width}-${scheme}.png`, fullPage: true });
    await tab.$$eval("details", (all) => all.forEach((more) => { more.open = true; }));
    // The page forbids scripts from elsewhere, not those of the browser's own tools.
    await tab.evaluate(axe);
    const { violations } = await tab.evaluate(() => globalThis.axe.run());
    const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
    assert.deepEqual(serious.map(({ id, nodes }) => `${id}: ${nodes[0].html}`), []);
    assert.deepEqual(complaints, []);
    console.log(`${width} pixels, ${scheme}: drawn, sliders and parts act, no error; axe-core: ${violations.length} minor findings`);
    await tab.close();
  }
}
await browser.close();

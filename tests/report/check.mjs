// What tests/report/run asks of a report. Arguments: the browser, the page, and a folder for pictures or nothing.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";
import { accessible, acts, fits } from "./acts.mjs";

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
    await acts(tab);
    await fits(tab);
    if (shots) await tab.screenshot({ path: `${shots}/${width}-${scheme}.png`, fullPage: true });
    await tab.$$eval("details", (all) => all.forEach((more) => { more.open = true; }));
    const minor = await accessible(tab, axe);
    assert.deepEqual(complaints, []);
    console.log(`${width} pixels, ${scheme}: drawn, sliders and parts act, no error; axe-core: ${minor} minor findings`);
    await tab.close();
  }
}
await browser.close();

// What a report does under somebody's hands, in a tab that shows one.
import assert from "node:assert/strict";

/** Sliders, parts and keys change the map; ends with the whole map shown. */
export async function acts(tab) {
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
}

/** Nothing is wider than the window. */
export async function fits(tab) {
  const wide = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `${wide} pixels wider than the window`);
}

/** axe-core has no serious finding; returns how many others. `axe` is its source. */
export async function accessible(tab, axe) {
  // The page forbids scripts from elsewhere, not those of the browser's own tools.
  await tab.evaluate(axe);
  const { violations } = await tab.evaluate(() => globalThis.axe.run());
  const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  assert.deepEqual(serious.map(({ id, nodes }) => `${id}: ${nodes[0].html}`), []);
  return violations.length;
}

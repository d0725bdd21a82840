// Whether what the module says is what the command says.
import assert from "node:assert/strict";

// The core computes the same bits everywhere; the network's passes do not, since a processor with fused multiply-add rounds once where WebAssembly rounds twice. Numbers of
// an explanation were at most 7.0e-6 apart; four times that is let pass.
export const BOUND = 3e-5;
// A region's share jumps by that of a pixel (2.6e-5 was seen) where a pixel comes to lie on the other side of the threshold. A few may.
const OF_PIXELS = 1e-4;

/** Both explanations, but for times and names of files: words equal, numbers within the bound. Returns the largest distance, but for those of regions. */
export function explanations(ours, theirs) {
  let furthest = 0;
  const skipped = new Set(["timings_ms", "files", "path"]);
  const compare = (a, b, place) => {
    if (typeof a === "number" && typeof b === "number") {
      const apart = Math.abs(a - b) / Math.max(1, Math.abs(b));
      const pixels = /regions\.\d+\.share$/.test(place);
      if (!pixels) furthest = Math.max(furthest, apart);
      assert.ok(apart <= (pixels ? OF_PIXELS : BOUND), `${place}: ${a} here, ${b} from the command`);
    } else if (a !== null && typeof a === "object") {
      assert.deepEqual(Object.keys(a), Object.keys(b ?? {}), place);
      for (const key of Object.keys(a)) if (!skipped.has(key)) compare(a[key], b[key], `${place}.${key}`);
    } else assert.equal(a, b, place);
  };
  compare(ours, theirs, "explanation");
  return furthest;
}

/** The largest distance of two arrays of floats, as a share of the largest number, and how many floats are equal. */
export function arrays(ours, theirs) {
  assert.equal(ours.length, theirs.length);
  const largest = theirs.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  let [furthest, equal] = [0, 0];
  ours.forEach((value, at) => {
    furthest = Math.max(furthest, Math.abs(value - theirs[at]));
    equal += value === theirs[at];
  });
  assert.ok(furthest <= BOUND * largest, `${furthest} apart, of at most ${largest}`);
  return `${(furthest / largest).toExponential(1)} of the largest apart, ${((100 * equal) / ours.length).toFixed(0)} % of ${ours.length} floats equal`;
}

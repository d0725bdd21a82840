"use strict";
// The worker: it holds the module, whose JavaScript stands before this, and answers one question after the other. The page ends it to stop it.
let engine = null;
// What has left the module in pieces, if anything has.
let broken = null;

globalThis.progressed = (counted, done, total) => postMessage({ progress: { counted, done, total } });

const jobs = {
  async open({ module, network, labels }) {
    await decomcam({ module_or_path: module });
    engine = network ? decomcam.Engine.with_network(network.name, new Uint8Array(network.bytes), labels?.name, labels?.text) : new decomcam.Engine();
    // While somebody looks for a photo.
    setTimeout(() => {
      try {
        engine.load();
        postMessage({ loaded: true });
      } catch (error) {
        broken = error;
      }
    });
    return { program: decomcam.program(), methods: JSON.parse(decomcam.methods()) };
  },
  explain({ name, photo, asked }) {
    const answer = engine.explain(name, new Uint8Array(photo), JSON.stringify(asked));
    const told = { page: answer.page(), json: answer.json(), overlay: answer.overlay() };
    answer.free();
    return told;
  },
  compare({ name, photo, asked }) {
    const comparison = engine.compare(name, new Uint8Array(photo), JSON.stringify(asked));
    const told = { png: comparison.png(), table: comparison.table(), json: comparison.json() };
    comparison.free();
    return told;
  },
  fail() {
    decomcam.fail();
  },
};

onmessage = async ({ data }) => {
  try {
    if (broken) throw broken;
    postMessage({ done: await jobs[data.job](data) });
  } catch (error) {
    // A refusal is an error that the library made. All else has left the module in pieces.
    if (!(error instanceof Error) || error instanceof WebAssembly.RuntimeError || error instanceof RangeError) broken = error;
    postMessage({ failed: String(error?.message ?? error), broken: broken !== null });
  }
};

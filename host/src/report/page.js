"use strict";
// Makes the report that is within `root` alive. Maps are grey pictures: of a map with two sides middle grey is nothing, else black is. Here they get their
// colours, opacity and threshold.
const enliven = (root) => {
  const canvas = root.querySelector(".map");
  const signed = canvas.dataset.signed === "yes";
  const colours = canvas.dataset.colours.match(/../g).map((digits) => parseInt(digits, 16));
  const opacity = root.querySelector("#opacity");
  const threshold = root.querySelector("#threshold");
  const showing = root.querySelector(".showing");
  const parts = [...root.querySelectorAll(".part")];
  const greys = new Map();
  let pinned = null;
  let wanted = null;

  // A level of 0 to 255 as a number of -1 or 0 to 1. Zero of two sides lies between two levels.
  const value = (level) => {
    if (!signed) return level / 255;
    const number = (level / 255) * 2 - 1;
    return Math.abs(number) < 0.005 ? 0 : number;
  };

  // The levels of a grey picture, once it is decoded.
  const grey = async (source) => {
    if (!greys.has(source)) {
      const image = new Image();
      image.src = source;
      await image.decode();
      const sheet = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
      const context = sheet.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      greys.set(source, context.getImageData(0, 0, sheet.width, sheet.height));
    }
    return greys.get(source);
  };

  const paint = (target, levels, width, height, step) => {
    target.width = width;
    target.height = height;
    const context = target.getContext("2d");
    const picture = context.createImageData(width, height);
    const least = threshold.value / 100;
    for (let at = 0; at < width * height; at += 1) {
      const level = levels[at * step];
      const size = Math.abs(value(level));
      for (let channel = 0; channel < 3; channel += 1) picture.data[at * 4 + channel] = colours[level * 3 + channel];
      picture.data[at * 4 + 3] = size < least ? 0 : (255 * opacity.value * size ** 0.7) / 100;
    }
    context.putImageData(picture, 0, 0);
  };

  const draw = async () => {
    const source = wanted ?? pinned;
    const chosen = (source ?? canvas).dataset.grey;
    const { data, width, height } = await grey(chosen);
    if (((wanted ?? pinned) ?? canvas).dataset.grey !== chosen) return;
    paint(canvas, data, width, height, 4);
    paint(root.querySelector(".ramp"), Uint8Array.from({ length: 256 }, (_, level) => level), 256, 1, 1);
    showing.textContent = source ? `Shown: ${source.dataset.called}` : "Shown: the whole map";
  };

  for (const slider of [opacity, threshold]) {
    slider.addEventListener("input", () => {
      root.querySelector(`output[for=${slider.id}]`).textContent = `${slider.value}%`;
      draw();
    });
  }
  for (const part of parts) {
    for (const begin of ["mouseenter", "focus"]) part.addEventListener(begin, () => { wanted = part; draw(); });
    for (const end of ["mouseleave", "blur"]) part.addEventListener(end, () => { wanted = null; draw(); });
    part.addEventListener("click", () => {
      pinned = pinned === part ? null : part;
      // Chosen again, the part is let go of, also while the pointer is still on it.
      wanted = null;
      for (const other of parts) other.setAttribute("aria-pressed", String(other === pinned));
      draw();
    });
  }
  const release = (event) => {
    if (event.key === "Escape" && pinned) pinned.click();
    if (!canvas.isConnected) document.removeEventListener("keydown", release);
  };
  document.addEventListener("keydown", release);
  draw();
};
addEventListener("beforeprint", () => { for (const more of document.querySelectorAll("details")) more.open = true; });

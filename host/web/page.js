// The page around the report: it takes a photo and a question to the worker, and shows what comes back.
(() => {
  const by = (id) => document.getElementById(id);
  const main = document.querySelector("main");
  const answer = by("answer");
  let module = null;
  let worker = null;
  let job = null;
  let photo = null;
  // What somebody brought: the file of a network, and that with the names of its classes.
  let network = null;
  let labels = null;
  let began = 0;

  const say = (words) => { by("status").textContent = words; };
  const complain = (words) => {
    by("error").textContent = words;
    by("error").hidden = !words;
  };
  const busy = () => {
    for (const id of ["explain", "compare"]) by(id).disabled = job !== null || worker === null;
    by("cancel").hidden = job === null || job.name === "open";
    by("progress").hidden = job === null;
  };

  // The module: from the page itself if it is in there, or else from beside it.

  // A vector of bytes with the type v128 in a function: what a browser without SIMD refuses.
  const simd = () => WebAssembly.validate(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11]));

  const unpacked = async (blob) => {
    const head = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
    if (head[0] !== 0x1f || head[1] !== 0x8b) return blob.arrayBuffer();
    return new Response(blob.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  };

  const fetched = async () => {
    const inside = by("module").textContent.trim();
    if (inside) return (await fetch(`data:application/octet-stream;base64,${inside}`)).blob();
    const name = simd() && globalThis.DecompressionStream ? "decomcam.wasm.gz" : "decomcam-plain.wasm";
    const response = await fetch(name);
    if (!response.ok) throw new Error(`${name} is missing beside this page (${response.status})`);
    return response.blob();
  };

  const load = async () => {
    if (!globalThis.WebAssembly) throw new Error("This browser has no WebAssembly. Chrome 91, Firefox 113, Safari 16.4 and later have what this page needs.");
    if (by("module").textContent.trim() && by("module").dataset.simd === "yes" && !(simd() && globalThis.DecompressionStream)) {
      throw new Error("This browser is too old for this file. Open decomcam-plain.html, or take Chrome 91, Firefox 113, Safari 16.4 or later.");
    }
    let bytes;
    try {
      bytes = await unpacked(await fetched());
      module = await WebAssembly.compile(bytes);
    } catch (error) {
      throw new Error(`The program that belongs to this page is damaged or incomplete; load or download the page again. (${error.message})`);
    }
  };

  // The worker, made from text so that a page on the disk can have one.

  const start = () => {
    worker?.terminate();
    const url = URL.createObjectURL(new Blob([by("worker").textContent], { type: "text/javascript" }));
    const made = new Worker(url);
    worker = made;
    made.onmessage = ({ data }) => { if (made === worker) heard(data); };
    made.onerror = (event) => { if (made === worker) heard({ failed: event.message || "the worker could not be started", broken: true }); };
    return send("open", { module, network, labels }).then((told) => {
      URL.revokeObjectURL(url);
      by("program").textContent = told.program;
      by("network").textContent = network ? [network, labels].flatMap((file) => file?.name ?? []).join(" with ") : "the bundled one";
      by("bundled").hidden = !network;
      if (!by("method").options.length) {
        by("method").append(...told.methods.map(([name, help, sizes]) => {
          const option = Object.assign(new Option(name, name), { title: help });
          option.dataset.sizes = sizes;
          return option;
        }));
        describe();
      }
      busy();
    });
  };

  const send = (name, data) => new Promise((resolve, reject) => {
    job = { name, resolve, reject };
    began = performance.now();
    by("progress").removeAttribute("value");
    worker.postMessage({ job: name, ...data });
    busy();
  });

  const heard = ({ progress, loaded, done, failed, broken }) => {
    if (loaded) {
      globalThis.decomcam.loaded = performance.now();
      return;
    }
    if (progress) {
      by("progress").max = progress.total || 1;
      by("progress").value = progress.done;
      if (job && job.name !== "open") say(`Working: ${progress.done} of ${progress.total} ${progress.counted}`);
      return;
    }
    const ended = job;
    job = null;
    busy();
    if (failed === undefined) ended?.resolve(done);
    else ended?.reject(Object.assign(new Error(failed), { broken }));
  };

  const restart = () => start().catch((error) => {
    worker = null;
    busy();
    complain(`The program could not be started: ${error.message}`);
  });

  const stop = () => {
    const stopped = job;
    job = null;
    stopped.reject(Object.assign(new Error("Stopped."), { stopped: true }));
  };

  // One question to the worker, whatever becomes of it.
  const ask = async (name, data, words) => {
    complain("");
    say(words);
    try {
      const told = await send(name, data);
      say(`Done in ${((performance.now() - began) / 1000).toFixed(2)} s.`);
      return told;
    } catch (error) {
      say("");
      if (error.stopped) say("Stopped.");
      else if (error.broken) complain(`The program stopped unexpectedly and was started anew; ask again. A very large photo may need more memory than the browser gives. (${error.message})`);
      else complain(error.message);
      if (error.stopped || error.broken) await restart();
      return null;
    }
  };

  // The question.

  const describe = () => { by("help").textContent = by("method").selectedOptions[0]?.title ?? ""; };

  const asked = () => {
    const effort = by("effort").value;
    const question = { text: by("text").value.trim() || null, versus: by("versus").value.trim() || null, method: by("method").value };
    if (effort !== "full") question.unchecked = true;
    if (effort === "quick" && by("method").selectedOptions[0].dataset.sizes === "true") question.scales = 1;
    return question;
  };

  const ready = () => {
    if (photo) return true;
    complain("First choose a photo, drop one on the page, or paste one.");
    by("file").focus();
    return false;
  };

  const read = async (file) => {
    try {
      return { name: file.name || "photo", bytes: await file.arrayBuffer() };
    } catch (error) {
      complain(`${file.name}: the browser cannot read it; it may be a folder, or larger than the memory. (${error.message})`);
      return null;
    }
  };

  // A network of somebody's own, with the names of its classes or without; the bundled one if none is given.
  const open = async (files) => {
    if (job || !worker) return complain("The program is busy. Stop it, or wait until it is done.");
    complain("");
    const before = [network, labels];
    [network, labels] = files;
    say(network ? `Opening ${network.name} ...` : "Loading the program and its model ...");
    try {
      await start();
      say("Ready.");
    } catch (error) {
      say("");
      const why = error.broken ? `${network.name}: the program stopped unexpectedly; the network may need more memory than the browser gives. (${error.message})` : error.message;
      [network, labels] = before;
      await restart();
      complain(why);
    }
  };

  // Files that were chosen, dropped or pasted: photos, networks, names of classes.
  const take = async (files) => {
    const kind = (names) => [...files].find(({ name }) => names.test(name));
    const [own, names, other] = [kind(/\.(onnx|tflite)$/i), kind(/\.(txt|json|names)$/i), kind(/\.(safetensors|pth?|ckpt|h5|keras|pb|bin|data|onnx_data|gguf)$/i)];
    if (other) {
      complain(`${other.name}: a network has to be one .onnx file with all its weights in it, or a .tflite file of int8; export it as ONNX.`);
    } else if (own) {
      const bytes = await read(own);
      if (bytes) await open([bytes, names ? { name: names.name, text: await names.text() } : null]);
    } else if (names && network) {
      await open([network, { name: names.name, text: await names.text() }]);
    } else if (names) {
      complain(`${names.name}: names of classes belong to a network of your own; choose or drop both files together.`);
    } else if (files.length) await look(files[0]);
  };

  const look = async (file) => {
    complain("");
    const bytes = await read(file);
    if (!bytes) return;
    photo = bytes;
    const shown = by("chosen");
    if (shown.src) URL.revokeObjectURL(shown.src);
    shown.src = URL.createObjectURL(file);
    shown.hidden = false;
    shown.onerror = () => { shown.hidden = true; };
    by("called").textContent = photo.name;
    say(`Photo: ${photo.name}`);
  };

  // The answer.

  const saves = (files) => {
    const row = Object.assign(document.createElement("div"), { className: "buttons saves" });
    for (const [label, name, make] of files) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: label });
      button.addEventListener("click", async () => {
        const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(await make()), download: name });
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      });
      row.append(button);
    }
    return row;
  };

  // The photo under the map as the sliders and the chosen part leave it.
  const shown = async () => {
    const [under, over] = [answer.querySelector("img.photo"), answer.querySelector("canvas.map")];
    const sheet = new OffscreenCanvas(under.naturalWidth, under.naturalHeight);
    const context = sheet.getContext("2d");
    for (const layer of [under, over]) context.drawImage(layer, 0, 0, sheet.width, sheet.height);
    return sheet.convertToBlob({ type: "image/png" });
  };

  const blob = (content, type) => async () => new Blob([content], { type });

  const tell = ({ page, json, overlay }) => {
    const report = new DOMParser().parseFromString(page, "text/html");
    const title = Object.assign(document.createElement("h2"), { className: "title", tabIndex: -1 });
    title.textContent = report.querySelector("h1").textContent;
    const about = [...report.querySelectorAll("header p")];
    const files = saves([
      ["Save the picture", "overlay.png", blob(overlay, "image/png")],
      ["Save what is shown", "shown.png", shown],
      ["Save the numbers", "explanation.json", blob(json, "application/json")],
      ["Save the report", "report.html", blob(page, "text/html")],
    ]);
    answer.replaceChildren(title, ...about, files, document.adoptNode(report.querySelector("main")));
    enliven(answer);
    title.focus({ preventScroll: true });
    title.scrollIntoView({ block: "start" });
  };

  const side_by_side = ({ png, table, json }) => {
    const title = Object.assign(document.createElement("h2"), { className: "title", tabIndex: -1, textContent: "Methods side by side" });
    const picture = Object.assign(new Image(), { src: URL.createObjectURL(new Blob([png], { type: "image/png" })), alt: "The photo under the map of each method, with the numbers of the table below" });
    const numbers = Object.assign(document.createElement("pre"), { textContent: table, tabIndex: 0 });
    numbers.setAttribute("role", "region");
    numbers.setAttribute("aria-label", "The numbers of each method");
    const place = Object.assign(document.createElement("main"), { className: "comparison" });
    place.style.display = "block";
    place.append(picture, numbers);
    const files = saves([["Save the picture", "comparison.png", blob(png, "image/png")], ["Save the numbers", "comparison.json", blob(json, "application/json")]]);
    answer.replaceChildren(title, files, place);
    title.focus({ preventScroll: true });
    title.scrollIntoView({ block: "start" });
  };

  const job_of = () => ({ name: photo.name, photo: photo.bytes, asked: asked() });

  by("ask").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (job || !worker || !ready()) return;
    const told = await ask("explain", job_of(), "Working ...");
    if (told) tell(told);
  });
  by("compare").addEventListener("click", async () => {
    if (job || !worker || !ready()) return;
    const told = await ask("compare", job_of(), "Comparing methods: some hundred passes of the network, which take a minute or so ...");
    if (told) side_by_side(told);
  });
  by("cancel").addEventListener("click", stop);
  by("method").addEventListener("change", describe);

  by("file").addEventListener("change", () => take(by("file").files));
  by("bring").addEventListener("change", async () => {
    await take(by("bring").files);
    by("bring").value = "";
  });
  by("bundled").addEventListener("click", () => open([null, null]));
  for (const kind of ["dragenter", "dragover"]) {
    addEventListener(kind, (event) => {
      event.preventDefault();
      by("drop").classList.add("over");
    });
  }
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) by("drop").classList.remove("over"); });
  addEventListener("drop", (event) => {
    event.preventDefault();
    by("drop").classList.remove("over");
    take(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    take([file]);
  });

  // The camera.

  const video = document.querySelector("#viewfinder video");
  const shut = () => {
    video.srcObject?.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
    by("viewfinder").hidden = true;
  };
  by("camera").hidden = !navigator.mediaDevices?.getUserMedia;
  by("camera").addEventListener("click", async () => {
    complain("");
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      by("viewfinder").hidden = false;
      await video.play();
      by("shoot").focus();
    } catch (error) {
      shut();
      complain(`The camera cannot be used: ${error.message}`);
    }
  });
  by("shut").addEventListener("click", shut);
  by("shoot").addEventListener("click", async () => {
    const sheet = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    sheet.getContext("2d").drawImage(video, 0, 0);
    const picture = await sheet.convertToBlob({ type: "image/png" });
    shut();
    await look(new File([picture], "camera.png"));
  });

  // What tests ask of the page that no visitor does.
  globalThis.decomcam = { fail: () => ask("fail", {}, "Failing ...") };

  load().then(start).then(() => say("Ready."), (error) => {
    say("");
    worker = null;
    job = null;
    busy();
    complain(error.message);
  });
})();

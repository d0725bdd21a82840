// Runs the module given as the argument, and leaves `lines` and `values` in the working directory.
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";

const files = ["lines", "values"];
files.forEach((file) => writeFileSync(file, ""));
let memory;
const append = (file, address, length) => appendFileSync(files[file], new Uint8Array(memory.buffer, address, length));
const { instance } = await WebAssembly.instantiate(readFileSync(process.argv[2]), { host: { append } });
memory = instance.exports.memory;
process.exit(instance.exports.run());

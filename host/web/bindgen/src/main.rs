//! `bindgen MODULE.wasm DIRECTORY NAME`: writes `NAME.js` and `NAME_bg.wasm`, for a classic script: a worker that is made from text has no modules to import.

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, directory, name] = &arguments[..] else { anyhow::bail!("usage: bindgen MODULE.wasm DIRECTORY NAME") };
    wasm_bindgen_cli_support::Bindgen::new()
        .input_path(module)
        .no_modules(true)?
        .no_modules_global("decomcam")?
        .out_name(name)
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(directory)
}

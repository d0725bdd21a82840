//! The plan of the house: rooms import downwards only, and only the command knows how a command line is parsed.

use crate::common::root;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from the ground up. A room may use those of the floors below, and those on its own floor that stand before it.
const FLOORS: [&[&str]; 8] = [
    &[
        "error",
        "program",
        "size",
        "random",
        "hash",
        "stats",
        "progress",
        "timings",
        "workers",
        "owned",
        "files",
        "text",
        "kinds",
        "journal",
        "shard",
        "arithmetic",
    ],
    &["photo", "draw"],
    &["onnx", "tflite", "model"],
    &["encoders", "score"],
    &["metrics", "methods"],
    &["explain", "session"],
    &["board", "dataset"],
    &["report", "many", "frames", "eval", "compare", "pool"],
];

/// What only the command may know.
const OF_THE_COMMAND: [&str; 8] =
    ["anstream", "anstyle", "clap", "clap_complete", "clap_mangen", "indicatif", "mimalloc", "signal_hook"];

fn source() -> PathBuf {
    root("host/src")
}

/// Every source file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// A file's code: without comments, and without the tests at its end.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).filter(|word| !word.is_empty())
}

/// What stands behind every `crate::` in some code: the name, or all first names in the braces.
fn names_of_the_crate(code: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for behind in code.split("crate::").skip(1) {
        let Some(list) = behind.strip_prefix('{') else {
            names.extend(words(behind).next());
            continue;
        };
        // Names at depth one that begin an entry.
        let (mut depth, mut begins) = (0, true);
        for (at, letter) in list.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                letter if begins && depth == 0 && letter.is_alphanumeric() => {
                    names.extend(words(&list[at..]).next());
                    begins = false;
                }
                _ => {}
            }
        }
    }
    names
}

/// The rooms, and where the names at the top of the library come from.
fn rooms() -> (BTreeSet<String>, BTreeMap<String, String>) {
    let lib = code(&source().join("lib.rs"));
    let declared = lib.lines().filter_map(|line| line.split_once("mod ")).map(|(_, name)| name.trim_end_matches(';'));
    let mut homes = BTreeMap::new();
    for line in lib.lines().filter_map(|line| line.strip_prefix("pub use ")) {
        let mut names = words(line);
        let home = names.next().unwrap();
        homes.extend(names.map(|name| (name.to_owned(), home.to_owned())));
    }
    (declared.map(str::to_owned).collect(), homes)
}

/// Which rooms each room uses, with a file that does.
fn uses() -> BTreeMap<(String, String), PathBuf> {
    let (rooms, homes) = rooms();
    let mut uses = BTreeMap::new();
    for path in files(&source()) {
        let inside = path.strip_prefix(source()).unwrap();
        let room = Path::new(inside.components().next().unwrap().as_os_str()).with_extension("");
        let room = room.to_str().unwrap();
        if !rooms.contains(room) {
            continue;
        }
        for name in names_of_the_crate(&code(&path)) {
            let used = homes.get(name).map_or(name, String::as_str);
            assert!(rooms.contains(used), "{}: crate::{name} is no room", inside.display());
            if used != room {
                uses.insert((room.to_owned(), used.to_owned()), inside.to_owned());
            }
        }
    }
    uses
}

#[test]
fn every_room_has_its_floor() {
    let declared = rooms().0;
    let planned: BTreeSet<String> = FLOORS.iter().copied().flatten().map(|room| (*room).to_owned()).collect();
    assert_eq!(declared, planned, "lib.rs and the plan in this file name the same rooms");
}

#[test]
fn rooms_import_downwards_only() {
    let order: Vec<&str> = FLOORS.iter().copied().flatten().copied().collect();
    let at = |room: &str| order.iter().position(|other| *other == room).unwrap();
    let uses = uses();
    assert!(uses.len() > 50, "imports are found: {uses:?}");
    let upwards = uses.iter().filter(|((room, used), _)| at(used) > at(room));
    let upwards: Vec<String> = upwards
        .map(|((room, used), path)| format!("{} ({room}) uses {used}, which is above it", path.display()))
        .collect();
    assert!(upwards.is_empty(), "\n{}", upwards.join("\n"));
}

#[test]
fn only_the_command_knows_the_command_line() {
    let library = files(&source()).into_iter().filter(|path| {
        let inside = path.strip_prefix(source()).unwrap();
        !inside.starts_with("cli") && ![Path::new("main.rs"), Path::new("heap.rs")].contains(&inside)
    });
    for path in library {
        let code = code(&path);
        let known: BTreeSet<&str> = words(&code).collect();
        for name in OF_THE_COMMAND {
            assert!(!known.contains(name), "{} names {name}", path.display());
        }
    }
}

/// The reader of imports, on code that it must understand.
#[test]
fn imports_are_read() {
    let code = "use crate::{Error, Result,\n    explain::{self, Look, masks::gains}, workers};\nuse crate::files::{self, Files};\nfn f() -> crate::Size {}";
    let expected = ["Error", "Result", "Size", "explain", "files", "workers"];
    assert_eq!(names_of_the_crate(code).into_iter().collect::<Vec<_>>(), expected);
}

/// The Python package compiles the files of the command as well, with dependencies of its own.
#[test]
fn the_python_package_has_what_the_command_needs() {
    let manifest = fs::read_to_string(root("host/python/Cargo.toml")).unwrap();
    // Its allocator is Python's.
    for needed in OF_THE_COMMAND.iter().filter(|name| **name != "mimalloc") {
        let (name, dashed) = (format!("\n{needed} = "), format!("\n{} = ", needed.replace('_', "-")));
        assert!(manifest.contains(&name) || manifest.contains(&dashed), "host/python/Cargo.toml lacks {needed}");
    }
}

/// A lock file: each package with its versions and what it depends on.
fn locked(path: &str) -> BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> {
    let lock: toml::Value = toml::from_str(&fs::read_to_string(root(path)).unwrap()).unwrap();
    let mut packages = BTreeMap::<_, (BTreeSet<_>, BTreeSet<_>)>::new();
    for package in lock["package"].as_array().unwrap() {
        let entry = packages.entry(package["name"].as_str().unwrap().to_owned()).or_default();
        entry.0.insert(package["version"].as_str().unwrap().to_owned());
        let needs = package.get("dependencies").and_then(toml::Value::as_array).into_iter().flatten();
        entry.1.extend(needs.map(|need| need.as_str().unwrap().split(' ').next().unwrap().to_owned()));
    }
    packages
}

/// The page in the browser compiles the library in a workspace of its own, which no gate builds. Its numbers are the command's, so its packages are, too.
#[test]
fn the_page_has_the_packages_of_the_command() {
    let manifest: toml::Value = toml::from_str(&fs::read_to_string(root("host/Cargo.toml")).unwrap()).unwrap();
    let (page, command) = (locked("host/web/Cargo.lock"), locked("Cargo.lock"));
    let needs = manifest["dependencies"].as_table().unwrap().iter();
    let needs = needs.filter(|(_, need)| need.get("optional").and_then(toml::Value::as_bool) != Some(true));
    for (need, _) in needs {
        assert!(
            page["decomcam"].1.contains(need),
            "host/web/Cargo.lock lacks {need}: build the page (host/web/build) without --locked"
        );
    }
    // A package of another version may compute something else.
    for (name, (versions, _)) in &page {
        if let Some((known, _)) = command.get(name) {
            assert!(versions.is_subset(known), "{name}: {versions:?} in host/web/Cargo.lock, {known:?} in Cargo.lock");
        }
    }
}

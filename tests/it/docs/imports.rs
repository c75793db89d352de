//! No two files of a crate import each other, directly or through others: a crate can be read from its leaves upwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::repository::{files, root};

/// A module as a path: `["write", "head"]`. The root of a crate is empty.
type Module = Vec<String>;

/// For each module of a crate, the modules that it imports.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn no_two_files_of_a_crate_import_each_other_in_a_circle() {
    let crates = root().join("crates");
    let mut found = vec![];
    for entry in std::fs::read_dir(&crates).unwrap() {
        let source = entry.unwrap().path().join("src");
        let file = |module: &Module| {
            source.join(module.join("/")).strip_prefix(&crates).unwrap().display().to_string()
        };
        for circle in circles_of(&imports_of(&source)) {
            let circle: Vec<String> = circle.iter().map(file).collect();
            found.push(circle);
        }
    }
    assert!(found.is_empty(), "these files import each other: {found:#?}");
}

#[test]
fn a_circle_is_found_however_the_import_is_written() {
    let module =
        |path: &str| -> Module { path.split('/').filter(|part| !part.is_empty()).map(Into::into).collect() };
    let modules: BTreeSet<Module> = ["", "a", "a/b", "c"].map(module).into();
    let imported = |at: &str, text: &str| imported(&module(at), text, &modules);
    for text in [
        "use crate::c::Thing;",
        "pub use super::super::c;",
        "use crate::{\n    a::Other,\n    c::{self, Thing},\n};",
    ] {
        assert!(imported("a/b", text).contains(&module("c")), "{text}");
    }
    assert_eq!(imported("a/b", "use super::Thing;"), [module("a")].into());
    assert_eq!(imported("a/b", "mod tests {\n    use super::Thing;\n}"), [].into(), "its own test module");
    assert_eq!(imported("a", "pub use b::Thing;\nuse serde::c;"), [module("a/b")].into());
    assert_eq!(imported("a", "use self::b;"), [module("a/b")].into());
    assert_eq!(imported("c", "// use crate::a::Thing;\nuse std::fmt;"), [].into());
    let imports = [("a", "c"), ("c", "a/b"), ("a/b", "a"), ("", "a")];
    let mut graph = Imports::new();
    for (from, to) in imports {
        graph.entry(module(from)).or_default().insert(module(to));
    }
    assert_eq!(circles_of(&graph), [["a", "a/b", "c"].map(module).to_vec()].into());
}

fn imports_of(source: &Path) -> Imports {
    let files = files(source, &["rs"]);
    let module = |file: &Path| -> Module {
        let path = file.strip_prefix(source).unwrap().with_extension("");
        let mut module: Module = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        module.pop_if(|last| matches!(last.as_str(), "mod" | "lib" | "main"));
        module
    };
    let modules = files.iter().map(|file| module(file)).collect();
    let text = |file: &Path| std::fs::read_to_string(file).unwrap();
    files.iter().map(|file| (module(file), imported(&module(file), &text(file), &modules))).collect()
}

/// The modules in the `use` lines of `module`.
fn imported(module: &[String], text: &str, modules: &BTreeSet<Module>) -> BTreeSet<Module> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut found = BTreeSet::new();
    for (start, _) in code.match_indices("use ") {
        let line = code[..start].rsplit('\n').next().unwrap();
        let is_use = matches!(line.trim_start(), "" | "pub " | "pub(crate) " | "pub(super) ");
        let Some((tree, _)) = code[start + "use ".len()..].split_once(';').filter(|_| is_use) else {
            continue;
        };
        // An indented `use` is in a module within the file, so its first `super` is the file itself.
        let is_nested = line.starts_with(' ');
        let mut paths = vec![];
        expand(&[], tree, &mut paths);
        found.extend(paths.iter().filter_map(|path| resolve(module, is_nested, path, modules)));
    }
    found.remove(module);
    found
}

/// All paths of a `use` tree: `a::{b, c::{self, d}}` is `a::b`, `a::c::self` and `a::c::d`.
fn expand(prefix: &[&str], tree: &str, paths: &mut Vec<Vec<String>>) {
    let (head, group) = tree.split_once('{').map_or((tree, None), |(head, group)| (head, Some(group)));
    let parts = head.split("::").map(|part| part.split_whitespace().next().unwrap_or_default());
    let path: Vec<&str> = prefix.iter().copied().chain(parts.filter(|part| !part.is_empty())).collect();
    let Some((group, _)) = group.and_then(|group| group.rsplit_once('}')) else {
        return paths.push(path.into_iter().map(str::to_owned).collect());
    };
    let mut depth = 0;
    let separators = |character: char| {
        depth += i32::from(character == '{') - i32::from(character == '}');
        character == ',' && depth == 0
    };
    for member in group.split(separators).filter(|member| !member.trim().is_empty()) {
        expand(&path, member, paths);
    }
}

/// The module of this crate to which a path leads; `None` for a path of another crate.
fn resolve(
    module: &[String],
    is_nested: bool,
    path: &[String],
    modules: &BTreeSet<Module>,
) -> Option<Module> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    let (mut found, rest) = match path.first()?.as_str() {
        "crate" => (vec![], &path[1..]),
        "self" => (module.to_vec(), &path[1..]),
        "super" => {
            let up = supers - usize::from(is_nested);
            (module[..module.len() - up].to_vec(), &path[supers..])
        }
        child if modules.contains(&[module, &[child.to_owned()]].concat()) => (module.to_vec(), path),
        _ => return None,
    };
    for part in rest {
        found.push(part.clone());
        if !modules.contains(&found) {
            found.pop();
            break;
        }
    }
    Some(found)
}

/// The groups of modules that import each other, directly or through others.
fn circles_of(imports: &Imports) -> BTreeSet<Vec<Module>> {
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        imports.keys().map(|module| (module, reached_from(module, imports))).collect();
    let leads_to = |from: &Module, to: &Module| reached.get(from).is_some_and(|reached| reached.contains(to));
    let circle = |module: &&Module| -> Vec<Module> {
        imports.keys().filter(|other| leads_to(module, other) && leads_to(other, module)).cloned().collect()
    };
    imports.keys().filter(|module| leads_to(module, module)).map(|module| circle(&module)).collect()
}

fn reached_from<'a>(start: &Module, imports: &'a Imports) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Module> = imports.get(start).into_iter().flatten().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module) {
            next.extend(imports.get(module).into_iter().flatten());
        }
    }
    reached
}

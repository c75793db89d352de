//! The triggers that protect the history, and their functions.

/// The triggers that protect the history and what was signed of it: table, name and function.
pub(super) const GUARDS: [(&str, &str, &str); 4] = [
    ("events", "events_are_immutable", "refuse_change_of_history"),
    ("checkpoints", "checkpoints_keep_signatures", "refuse_lost_signature"),
    ("checkpoints", "checkpoints_stay_readable", "refuse_unreadable_checkpoint"),
    ("signing_key_introductions", "introductions_keep_notes", "keep_replaced_introduction"),
];

/// The tables of all of them, and their names.
pub(super) fn names() -> (Vec<&'static str>, Vec<&'static str>) {
    GUARDS.iter().map(|(table, guard, ..)| (*table, *guard)).unzip()
}

/// Whether a line of what the migrations make is of a guard or its function.
pub(super) fn is_of_guard(line: &str) -> bool {
    let is_function =
        |(_, _, function): &(&str, &str, &str)| line.starts_with(&format!("function {function}("));
    line.contains(" CREATE TRIGGER ") || GUARDS.iter().any(is_function)
}

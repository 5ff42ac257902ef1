//! Mutants that compute the same as the shader they came from, each with the reason.

/// (shader, or empty for any; the line with its mistake, or a part of it; why nothing changes).
const EQUIVALENT: &[(&str, &str, &str)] =
    &[("attention/plain", "`if score > largest {`", "of equal scores either is the largest")];

/// Why this change of a shader changes nothing, if it is known not to.
pub fn reason(shader: &str, change: &str) -> Option<&'static str> {
    let is_it =
        |(of, part, _): &&(&str, &str, &str)| (of.is_empty() || *of == shader) && change.contains(part);
    EQUIVALENT.iter().find(is_it).map(|(.., reason)| *reason)
}

//! A shader with other text than its file's: how the checks are checked.

/// Text to compile instead of a shader's own, everywhere it is used. The interface must stay the same.
#[derive(Clone, Debug)]
pub struct Substitute {
    /// [`Shader::name`](crate::engine::dispatch::Shader::name) of the shader it stands for.
    pub shader: &'static str,
    /// Whole, as [`shader::source`](super::shader::source) gives it: before constants are filled in.
    pub text: String,
}

//! The GPU through wgpu.

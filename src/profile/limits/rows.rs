//! Limits as a list of figures.

use serde::Serialize;

use super::{Limits, MatrixUnit};

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// As the field of [`Limits`] is called, without its unit.
    pub name: &'static str,
    /// What else tells it from others of its name.
    #[serde(flatten)]
    pub of: Of,
    pub value: Value,
    /// `1/s`, `B/s`, `s`; of what is true or false none.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub unit: &'static str,
}

/// What a figure is of, where its name alone does not say it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Of {
    Device {},
    Memory { bytes: u64 },
    MatrixUnit { m: u32, n: u32, k: u32, operand: String, result: String, problem: Option<String> },
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    Number(f64),
    Is(bool),
    /// It could not be measured.
    None(()),
}

impl Limits {
    /// All figures that there are, in the order of the fields.
    pub fn rows(&self) -> Vec<Row> {
        let row = |name, value, unit| Row { name, of: Of::Device {}, value: Value::Number(value), unit };
        let is = |name, value| Row { name, of: Of::Device {}, value: Value::Is(value), unit: "" };
        let arithmetic = &self.arithmetic;
        let mut rows = vec![
            row("fma", arithmetic.fma_per_s, "1/s"),
            is("fma_is_fused", arithmetic.fma_is_fused),
            row("multiply_add", arithmetic.multiply_add_per_s, "1/s"),
            is("multiply_add_is_fused", arithmetic.multiply_add_is_fused),
        ];
        rows.extend(arithmetic.f16_fma_per_s.map(|rate| row("f16_fma", rate, "1/s")));
        rows.extend(arithmetic.matmul_per_s.map(|rate| row("matmul", rate, "1/s")));
        rows.extend(self.matrix_units.iter().map(MatrixUnit::row));
        for memory in &self.memory {
            let of = Of::Memory { bytes: memory.bytes };
            rows.push(Row { of: of.clone(), ..row("read", memory.read_bytes_per_s, "B/s") });
            rows.push(Row { of, ..row("copy", memory.copy_bytes_per_s, "B/s") });
        }
        if let Some(memory) = self.workgroup_memory {
            rows.extend([
                row("words", memory.words_bytes_per_s, "B/s"),
                row("stride_2", memory.stride_2_bytes_per_s, "B/s"),
                row("stride_8", memory.stride_8_bytes_per_s, "B/s"),
                row("stride_32", memory.stride_32_bytes_per_s, "B/s"),
                row("vectors", memory.vectors_bytes_per_s, "B/s"),
                row("paired_vectors", memory.paired_vectors_bytes_per_s, "B/s"),
            ]);
        }
        if let Some(reductions) = self.reductions {
            rows.push(row("workgroup_reduction", reductions.workgroup_s, "s"));
            rows.extend(reductions.subgroup_s.map(|seconds| row("subgroup_reduction", seconds, "s")));
        }
        if let Some(overheads) = self.overheads {
            rows.extend([
                row("dispatch", overheads.dispatch_s, "s"),
                row("dispatch_after_same", overheads.dispatch_after_same_s, "s"),
                row("dispatch_after_other", overheads.dispatch_after_other_s, "s"),
                row("record", overheads.record_s, "s"),
                row("submission", overheads.submission_s, "s"),
                row("readback", overheads.readback_s, "s"),
                row("readback", overheads.readback_bytes_per_s, "B/s"),
                row("upload", overheads.upload_bytes_per_s, "B/s"),
                row("pipeline", overheads.pipeline_s, "s"),
            ]);
        }
        rows
    }
}

impl MatrixUnit {
    fn row(&self) -> Row {
        let Self { m, n, k, operand, result, multiply_add_per_s, problem } = self.clone();
        Row {
            name: "matrix_unit",
            of: Of::MatrixUnit { m, n, k, operand, result, problem },
            value: multiply_add_per_s.map_or(Value::None(()), Value::Number),
            unit: "1/s",
        }
    }
}

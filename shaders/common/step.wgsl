// What changes from step to step; src/engine/step.rs describes the fields.
struct Step {
    seed: u32,
    position: u32,
    learning_rate: f32,
    correction1: f32,
    correction2: f32,
    random: f32,
    place: u32,
    padding: u32,
}

@group(1) @binding(0) var<uniform> step: Step;

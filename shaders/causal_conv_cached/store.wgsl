// causal_conv_cached, second: the last of n new tokens of each stream into `tail`, that of position p into row
// p mod kept
// x (streams, n, width); tail (streams, kept, width); the last m = min(n, kept) tokens are stored,
// len = streams · m · width; one thread per element

struct Params { len: u32, n: u32, m: u32, kept: u32, width: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> tail: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn each_element(i: u32) {
    let row = i / params.width;
    let channel = i % params.width;
    let stream = row / params.m;
    let added = params.n - params.m + row % params.m;
    let to = stream * params.kept + (step.position + added) % params.kept;
    tail[to * params.width + channel] = x[(stream * params.n + added) * params.width + channel];
}

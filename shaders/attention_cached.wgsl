// attention_cached: out_i = Σ_s p_is values_s, p_i = softmax(q_i·keys_s/√D) over s ≤ position + i
// qkv (streams, n, n_head + 2 n_kv_head, WIDTH), keys, values (streams, room, n_kv_head, WIDTH),
// out (streams, n, n_head, WIDTH); tokens = streams · n
// Keys and values of the n new tokens of a stream go into its cache, from row `position` on: those of a token by the
// workgroup of the first head that shares them. All workgroups read them from qkv, and the cache only before `position`.
// n_head / n_kv_head heads share a key and a value; with ALIBI, their distance times a slope is taken from a score.
// With WINDOW > 0, a query sees so many keys, itself the last.
// One workgroup per new token and head. Keys come in tiles of one per thread; then each thread sums one channel, or
// SHARE of them, over every TEAMS-th key of the tile. The softmax is online; f32 sums, in the order of keys, and at
// last of teams.
const WORKGROUP: u32 = 256u;
const WIDTH: u32 = 32u;
const ALIBI: u32 = 0u;
const WINDOW: u32 = 0u;
// channels of one thread
const SHARE: u32 = (WIDTH + WORKGROUP - 1u) / WORKGROUP;
// threads of one channel
const TEAMS: u32 = max(WORKGROUP / WIDTH, 1u);

struct Params {
    tokens: u32,
    n: u32,
    room: u32,
    n_head: u32,
    n_kv_head: u32,
    scale: f32,
    alibi_heads: u32,
    alibi_step: f32,
}

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> keys: array<f32>;
@group(0) @binding(2) var<storage, read_write> values: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> weights: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = group.x + group.y * groups.x;
    let token = number / params.n_head;
    if token >= params.tokens {
        return;
    }
    let h = number % params.n_head;
    let group_size = params.n_head / params.n_kv_head;
    let kv_head = h / group_size;
    let row = params.n_kv_head * WIDTH;
    let qkv_row = params.n_head * WIDTH + 2u * row;
    // the channels of this head's keys and values in the first row of this stream's cache
    let cache = token / params.n * params.room * row + kv_head * WIDTH;
    let q = token * qkv_row + h * WIDTH;
    // its keys in the row of qkv that is `token % n` rows after the stream's first; values lie one `row` further on
    let new_key = token * qkv_row + (params.n_head + kv_head) * WIDTH;
    let t = step.position + token % params.n;
    let seen = t + 1u;
    let slope = alibi_slope(h);
    let team = local / WIDTH;

    // WGSL begins variables with zeros.
    var sums: array<f32, SHARE>;
    var largest = -3e38;
    var total = 0.0;
    var first = 0u;
    if WINDOW > 0u {
        first = seen - min(seen, WINDOW);
    }
    for (; first < seen; first += WORKGROUP) {
        let s = first + local;
        var score = -3e38;
        if s < seen {
            score = 0.0;
            if s < step.position {
                for (var d = 0u; d < WIDTH; d++) {
                    score += qkv[q + d] * keys[cache + s * row + d];
                }
            } else {
                let key = new_key - (t - s) * qkv_row;
                for (var d = 0u; d < WIDTH; d++) {
                    score += qkv[q + d] * qkv[key + d];
                }
            }
            score *= params.scale;
            if ALIBI == 1u {
                score -= penalty(slope, t, s);
            }
        }
        let larger = max(largest, reduce_max(local, score));
        let p = exp(score - larger);
        let shrink = exp(largest - larger);
        largest = larger;
        // All reads of the last tile's weights are done: the barriers of reduce_max come after them.
        weights[local] = p;
        // Also the barrier after which all may read the weights.
        total = total * shrink + reduce_sum(local, p);
        let count = min(WORKGROUP, seen - first);
        // Keys of this tile whose values are in the cache. A loop for each kind: one with both would wait for every value.
        let cached = min(count, step.position - min(step.position, first));
        for (var i = 0u; i < SHARE; i++) {
            let d = local % WIDTH + i * WORKGROUP;
            var sum = sums[i] * shrink;
            if team < TEAMS && d < WIDTH {
                var j = team;
                for (; j < cached; j += TEAMS) {
                    sum += weights[j] * values[cache + (first + j) * row + d];
                }
                for (; j < count; j += TEAMS) {
                    sum += weights[j] * qkv[new_key - (t - first - j) * qkv_row + row + d];
                }
            }
            sums[i] = sum;
        }
    }
    if TEAMS > 1u {
        workgroupBarrier();
        weights[local] = sums[0];
        workgroupBarrier();
        for (var other = 1u; other < TEAMS; other++) {
            // Thread i of the first team adds the sums of threads i + WIDTH, i + 2 WIDTH, …; what others add is not
            // used.
            sums[0] += weights[min(local + other * WIDTH, WORKGROUP - 1u)];
        }
    }
    for (var part = 0u; part < SHARE; part++) {
        let d = local + part * WORKGROUP;
        if d < WIDTH {
            out[number * WIDTH + d] = sums[part] / total;
        }
    }
    if h % group_size == 0u {
        for (var d = local; d < WIDTH; d += WORKGROUP) {
            keys[cache + t * row + d] = qkv[new_key + d];
            values[cache + t * row + d] = qkv[new_key + row + d];
        }
    }
}

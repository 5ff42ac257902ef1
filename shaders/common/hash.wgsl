// Random masks without state, bit for bit those of src/engine/hash.rs.

// Mixes 32 bits: lowbias32 of Wellons (2018), "Prospecting for Hash Functions".
fn hash(value: u32) -> u32 {
    var x = value;
    x = (x ^ (x >> 16u)) * 0x7feb352du;
    x = (x ^ (x >> 15u)) * 0x846ca68bu;
    return x ^ (x >> 16u);
}

// What the mask of one op in one step is drawn from; `salt` tells the ops of a step apart.
fn mask_key(seed: u32, salt: u32) -> u32 {
    return hash(seed ^ hash(salt));
}

// Whether element `index` of a mask is kept: the hashes below p · 2³² are not.
fn keep(key: u32, index: u32, threshold: u32) -> bool {
    return hash(index ^ key) >= threshold;
}

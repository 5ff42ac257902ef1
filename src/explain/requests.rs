//! From the accesses of invocations to the requests of warps.

use crate::engine::device::gpu::recorder::Record;

/// Invocations that execute an instruction together: neighbours by `local_invocation_index`.
pub const WARP: usize = 32;

/// The addresses of one access of a warp in bytes; `None` for an invocation that takes no part.
pub type Addresses = [Option<u32>; WARP];

/// The requests of a workgroup at a site: the accesses of a warp in the same turn of the loop around it, or of the
/// function, are one.
pub fn requests(record: &Record, site: usize) -> Vec<Addresses> {
    let mut requests = Vec::new();
    for turn in record.addresses[site].chunks(record.invocations.max(1)) {
        for warp in turn.chunks(WARP).filter(|warp| warp.iter().any(Option::is_some)) {
            let mut request = [None; WARP];
            request[..warp.len()].copy_from_slice(warp);
            requests.push(request);
        }
    }
    requests
}

/// How often warps run what each invocation ran so often: as often as the invocation that did so most.
pub fn of_warps(runs: &[u32]) -> u64 {
    runs.chunks(WARP).map(|warp| u64::from(warp.iter().copied().max().unwrap_or(0))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accesses_of_a_warp_in_one_turn_are_one_request() {
        // Two turns of two warps, the second of two invocations; invocation 1 takes no part in the second turn.
        let mut turns: Vec<Option<u32>> = (0..68).map(|i| Some(4 * i)).collect();
        turns[34 + 1] = None;
        turns.extend([None; 34]);
        let record = Record { invocations: 34, addresses: vec![turns], ..Record::default() };
        let requests = requests(&record, 0);
        assert_eq!(requests.len(), 4);
        assert_eq!((requests[0][1], requests[0][31], requests[1][1]), (Some(4), Some(124), Some(4 * 33)));
        assert_eq!((requests[2][0], requests[2][1], requests[3][2]), (Some(4 * 34), None, None));
    }

    #[test]
    fn warps_run_as_often_as_their_busiest_invocation() {
        let mut runs = vec![0; 34];
        (runs[1], runs[5], runs[33]) = (7, 3, 2);
        assert_eq!(of_warps(&runs), 9);
    }
}

//! Which workgroups are recorded, and how many of the grid each stands for.

/// A workgroup and its share of the grid; the shares sum to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub group: [u32; 3],
    pub share: f64,
}

/// The first, the one in the middle and the last along each axis. In a long grid the middle stands for two thirds of it
/// and each end for a sixth: exact where the work of a workgroup is the same everywhere, or grows along the axis.
pub fn places(grid: [u32; 3]) -> Vec<Place> {
    let axis = |groups: u32| -> Vec<(u32, f64)> {
        match groups.max(1) {
            1 => vec![(0, 1.0)],
            2 => vec![(0, 0.5), (1, 0.5)],
            3 => (0..3).map(|i| (i, 1.0 / 3.0)).collect(),
            n => vec![(0, 1.0 / 6.0), (n / 2, 2.0 / 3.0), (n - 1, 1.0 / 6.0)],
        }
    };
    let [xs, ys, zs] = grid.map(axis);
    let mut places = Vec::new();
    for &(z, of_z) in &zs {
        for &(y, of_y) in &ys {
            places.extend(xs.iter().map(|&(x, of_x)| Place { group: [x, y, z], share: of_x * of_y * of_z }));
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_middles_stand_for_the_grid() {
        assert_eq!(places([1, 1, 1]), [Place { group: [0; 3], share: 1.0 }]);
        for grid in [[2, 3, 1], [100, 7, 4], [65_535, 1, 1]] {
            let places = places(grid);
            assert!((places.iter().map(|place| place.share).sum::<f64>() - 1.0).abs() < 1e-12);
            assert_eq!(places[0].group, [0; 3]);
            assert_eq!(places.last().map(|place| place.group), Some(grid.map(|n| n - 1)));
        }
        // Work that grows along x: its mean is that of the ends.
        let mean: f64 = places([101, 1, 1]).iter().map(|p| p.share * f64::from(p.group[0])).sum();
        assert!((mean - 50.0).abs() < 1e-9);
    }
}

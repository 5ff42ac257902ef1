//! What a tensor is before it has any numbers: a shape and an element type.

use std::fmt;

/// The type of every element of a tensor; both are four bytes wide on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// Numbers: activations, weights, gradients. The f64 oracle widens them.
    F32,
    /// Indices: token ids, targets.
    U32,
}

/// Row-major extents of a tensor of rank 1 to 4, e.g. `(12, 64, 128)` for (batch, time, channels).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; 4],
    rank: usize,
}

impl Shape {
    /// The shape with these extents, outermost first.
    ///
    /// # Panics
    /// When there are none or more than four: ranks are fixed where ops are written, not by users.
    pub fn new(dims: &[usize]) -> Self {
        assert!((1..=4).contains(&dims.len()), "a shape has 1 to 4 dimensions, not {}", dims.len());
        let mut all = [1; 4];
        all[..dims.len()].copy_from_slice(dims);
        Self { dims: all, rank: dims.len() }
    }

    /// The extents, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank]
    }

    /// How many elements the tensor has; [`usize::MAX`], which no memory holds, where they are too many to count.
    pub fn len(&self) -> usize {
        product(self.dims())
    }

    /// Whether some extent is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The extent of the last dimension: the width of a row.
    pub fn width(&self) -> usize {
        self.dims[self.rank - 1]
    }

    /// How many rows of [`width`](Self::width) elements there are, counted as [`len`](Self::len) does.
    pub fn rows(&self) -> usize {
        product(&self.dims[..self.rank - 1])
    }

    /// The same rows at another width: `(12, 64, 128).with_width(384)` is `(12, 64, 384)`.
    pub fn with_width(mut self, width: usize) -> Self {
        self.dims[self.rank - 1] = width;
        self
    }
}

/// A product that ends at the greatest number instead of beginning again at zero.
fn product(extents: &[usize]) -> usize {
    // An empty tensor is empty however long its other sides are.
    if extents.contains(&0) {
        return 0;
    }
    extents.iter().fold(1, |product: usize, &extent| product.saturating_mul(extent))
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Self::new(&dims)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let dims: Vec<_> = self.dims().iter().map(usize::to_string).collect();
        write!(f, "({})", dims.join(", "))
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The static type of a tensor: shape and element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    pub shape: Shape,
    pub dtype: Dtype,
}

impl Spec {
    /// A tensor of numbers.
    pub fn f32(shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), dtype: Dtype::F32 }
    }

    /// A tensor of indices.
    pub fn u32(shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), dtype: Dtype::U32 }
    }

    /// Bytes on a device.
    pub fn bytes(&self) -> u64 {
        (self.shape.len() as u64).saturating_mul(4)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let dtype = if self.dtype == Dtype::F32 { "f32" } else { "u32" };
        write!(f, "{dtype}{}", self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_counts_rows_and_width() {
        let shape = Shape::from([12, 64, 128]);
        assert_eq!((shape.len(), shape.rows(), shape.width()), (98_304, 768, 128));
        assert_eq!(shape.with_width(65).to_string(), "(12, 64, 65)");
        assert_eq!((Shape::from([7]).rows(), Shape::from([7]).width()), (1, 7));
    }

    /// 2⁶² rows of 4 would be 2⁶⁴ elements, which 64 bits call none.
    #[test]
    fn what_cannot_be_counted_is_no_small_number() {
        let wraps = Spec::f32([1 << 62, 4]);
        assert_eq!((wraps.shape.len(), wraps.bytes()), (usize::MAX, u64::MAX));
        assert_eq!(Shape::from([1 << 62, 4, 1]).rows(), usize::MAX);
        assert_eq!(Spec::f32([1 << 61]).bytes(), 1 << 63);
        assert!(Shape::from([1 << 62, 1 << 62, 0]).is_empty());
    }
}

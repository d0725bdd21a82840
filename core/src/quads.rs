//! Rows of numbers in fours: the loops in which the decomposition spends its time.
//!
//! Four lanes are what one vector instruction holds on every machine that has any; a machine that has none does the same operations one by one. Long
//! loops are functions of their own, never inlined: only there does a compiler know that their arguments do not overlap.

/// Four neighbours of a row.
pub(crate) type Quad = [f32; 4];

/// Four rows of them.
pub(crate) type Cell = [Quad; 4];

/// a + f b
#[inline(always)]
pub(crate) fn plus([a, b, c, d]: Quad, f: f32, [e, g, h, i]: Quad) -> Quad {
    [a + f * e, b + f * g, c + f * h, d + f * i]
}

/// a - f b
#[inline(always)]
pub(crate) fn minus([a, b, c, d]: Quad, f: f32, [e, g, h, i]: Quad) -> Quad {
    [a - f * e, b - f * g, c - f * h, d - f * i]
}

/// s + a b, lane by lane
#[inline(always)]
pub(crate) fn plus_product([a, b, c, d]: Quad, [e, g, h, i]: Quad, [j, k, l, m]: Quad) -> Quad {
    [a + e * j, b + g * k, c + h * l, d + i * m]
}

#[inline(always)]
pub(crate) fn transpose([[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]]: Cell) -> Cell {
    [[a, e, i, m], [b, f, j, n], [c, g, k, o], [d, h, l, p]]
}

/// m + a b
#[inline(always)]
pub(crate) fn plus_matrix(m: Cell, a: Cell, [e, f, g, h]: Cell) -> Cell {
    let row = |m: Quad, [a, b, c, d]: Quad| plus(plus(plus(plus(m, a, e), b, f), c, g), d, h);
    let ([i, j, k, l], [a, b, c, d]) = (m, a);
    [row(i, a), row(j, b), row(k, c), row(l, d)]
}

/// m - a' b
#[inline(always)]
pub(crate) fn minus_matrix(m: Cell, a: Cell, [e, f, g, h]: Cell) -> Cell {
    let row = |m: Quad, [a, b, c, d]: Quad| minus(minus(minus(minus(m, a, e), b, f), c, g), d, h);
    let ([i, j, k, l], [a, b, c, d]) = (m, transpose(a));
    [row(i, a), row(j, b), row(k, c), row(l, d)]
}

/// Adds the lanes as a tree.
#[inline(always)]
pub(crate) fn tree([a, b, c, d]: Quad) -> f32 {
    (a + c) + (b + d)
}

/// x'y
#[inline]
pub(crate) fn dot(x: &[Quad], y: &[Quad]) -> f32 {
    let mut lanes = [0.0; 4];
    add_products(&mut lanes, x, y);
    tree(lanes)
}

/// lanes += x y
#[inline(never)]
fn add_products(lanes: &mut Quad, x: &[Quad], y: &[Quad]) {
    let mut sum = *lanes;
    for (x, y) in x.iter().zip(y) {
        sum = plus_product(sum, *x, *y);
    }
    *lanes = sum;
}

/// row -= f other
#[inline(never)]
pub(crate) fn subtract(row: &mut [Quad], f: f32, other: &[Quad]) {
    for (entry, other) in row.as_flattened_mut().iter_mut().zip(other.as_flattened()) {
        *entry -= f * other;
    }
}

/// Four rows, each from quad `first` on, of `rows`, which are of `width` quads.
pub(crate) fn four(rows: &mut [Quad], width: usize, first: usize) -> Option<[&mut [Quad]; 4]> {
    let mut rest = rows;
    let mut next = || {
        let (row, others) = core::mem::take(&mut rest).split_at_mut_checked(width)?;
        rest = others;
        row.get_mut(first..)
    };
    Some([next()?, next()?, next()?, next()?])
}

/// rows -= f other', then rows u. Four rows at a time, so that what they share is loaded once.
#[inline]
pub(crate) fn subtract_then_dot(rows: [&mut [Quad]; 4], f: Quad, other: &[Quad], u: &[Quad]) -> Quad {
    let mut lanes = [[0.0; 4]; 4];
    subtract_then_add_products(&mut lanes, rows, f, other, u);
    lanes.map(tree)
}

#[inline(never)]
fn subtract_then_add_products(lanes: &mut Cell, rows: [&mut [Quad]; 4], f: Quad, other: &[Quad], u: &[Quad]) {
    let [a, b, c, d] = rows;
    let [fa, fb, fc, fd] = f;
    let [mut la, mut lb, mut lc, mut ld] = *lanes;
    let rows = a.iter_mut().zip(b).zip(c).zip(d);
    for (((((a, b), c), d), other), u) in rows.zip(other).zip(u) {
        let new = [minus(*a, fa, *other), minus(*b, fb, *other), minus(*c, fc, *other), minus(*d, fd, *other)];
        [*a, *b, *c, *d] = new;
        let [new_a, new_b, new_c, new_d] = new;
        la = plus_product(la, new_a, *u);
        lb = plus_product(lb, new_b, *u);
        lc = plus_product(lc, new_c, *u);
        ld = plus_product(ld, new_d, *u);
    }
    *lanes = [la, lb, lc, ld];
}

/// rows -= f u', then sums += g'rows.
#[inline]
pub(crate) fn subtract_then_add(sums: &mut [Quad], rows: [&mut [Quad]; 4], f: Quad, u: &[Quad], g: Quad) {
    let [a, b, c, d] = rows;
    subtract_then_add_rows(sums, a, b, c, d, (&f, u), g);
}

/// `f` is behind a reference because a quad inside a larger argument is read in words that span two stores: up to 4 % slower.
#[inline(never)]
fn subtract_then_add_rows(
    sums: &mut [Quad],
    a: &mut [Quad],
    b: &mut [Quad],
    c: &mut [Quad],
    d: &mut [Quad],
    (f, u): (&Quad, &[Quad]),
    g: Quad,
) {
    let [fa, fb, fc, fd] = *f;
    let [ga, gb, gc, gd] = g;
    let rows =
        a.as_flattened_mut().iter_mut().zip(b.as_flattened_mut()).zip(c.as_flattened_mut()).zip(d.as_flattened_mut());
    for (((((a, b), c), d), u), sum) in rows.zip(u.as_flattened()).zip(sums.as_flattened_mut()) {
        *a -= fa * u;
        *b -= fb * u;
        *c -= fc * u;
        *d -= fd * u;
        *sum = (((*sum + ga * *a) + gb * *b) + gc * *c) + gd * *d;
    }
}

//! Floating numbers as C's printf writes them.
//!
//! Invariant: correctly rounded from the number's exact value, a tie to the even digit, as glibc does.

/// `%.7g`: seven significant digits without trailing zeros, with an exponent where that is below -4 or above 6.
pub fn general(value: f64) -> String {
    const DIGITS: i32 = 7;
    if let Some(word) = not_finite(value) {
        return word.to_owned();
    }
    // The exponent that counts is that of the rounded number: 9999999.6 is 1e+07.
    let scientific = format!("{value:.6e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..DIGITS).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(DIGITS - 1 - exponent).unwrap_or_default();
    without_zeros(&format!("{value:.decimals$}")).to_owned()
}

/// `%f`: six decimals.
pub fn fixed(value: f64) -> String {
    not_finite(value).map_or_else(|| format!("{value:.6}"), str::to_owned)
}

fn not_finite(value: f64) -> Option<&'static str> {
    match (value.is_nan(), value.is_finite()) {
        (true, _) => Some("nan"),
        (_, false) if value < 0.0 => Some("-inf"),
        (_, false) => Some("inf"),
        _ => None,
    }
}

fn without_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What glibc's printf wrote: the float's bits in hexadecimal, `%.7g`, `%f`.
    const CAPTURED: &str = include_str!("../../testdata/minidvodbtool/floats.txt");

    #[test]
    fn numbers_are_written_as_glibc_writes_them() {
        let mut count = 0;
        for line in CAPTURED.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split(' ').collect();
            let [bits, captured_general, captured_fixed] = fields[..] else { panic!("{line}") };
            let value = f64::from(f32::from_bits(u32::from_str_radix(bits, 16).unwrap()));
            assert_eq!((general(value).as_str(), fixed(value).as_str()), (captured_general, captured_fixed));
            count += 1;
        }
        assert!(count > 500, "{count}");
    }
}

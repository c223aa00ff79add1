//! The chunker polynomial in a repository's config.
//!
//! restic cuts files with a Rabin fingerprint over it. This engine cuts differently and never computes with
//! it, yet a repository without a good one cannot be backed up to by restic, so each new repository gets one.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{FormatError, crypto::fill_random};

/// restic's fingerprint window needs exactly this degree.
const DEGREE: u32 = 53;

/// Two in 53 polynomials with a constant term are irreducible, so that so many failures in a row say that the
/// generator of the operating system is broken (chance has it at about one in 2^550).
const ATTEMPTS_MAX: u32 = 10_000;

/// An irreducible polynomial of degree 53 over GF(2): bit `n` is the coefficient of x^n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Polynomial(u64);

impl Polynomial {
    /// The polynomial with these coefficients; [`FormatError::Malformed`] if restic would not chunk with it.
    pub fn from_bits(bits: u64) -> Result<Self, FormatError> {
        if degree(bits) != Some(DEGREE) || !is_irreducible(bits) {
            return Err(FormatError::malformed(format!(
                "the chunker polynomial {bits:x} is not an irreducible one of degree {DEGREE}"
            )));
        }
        Ok(Self(bits))
    }

    pub const fn bits(self) -> u64 {
        self.0
    }

    /// A random one, so that chunk boundaries tell nothing to who does not know the config.
    pub fn generate() -> Result<Self, FormatError> {
        for _ in 0..ATTEMPTS_MAX {
            let mut bytes = [0; 8];
            fill_random(&mut bytes)?;
            // Without a constant term x would divide it.
            let bits = u64::from_le_bytes(bytes) & ((1 << DEGREE) - 1) | 1 << DEGREE | 1;
            if is_irreducible(bits) {
                return Ok(Self(bits));
            }
        }
        Err(FormatError::NoRandomness)
    }
}

/// Lower-case hexadecimal without a prefix, as in the config.
impl fmt::Display for Polynomial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for Polynomial {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let bits = match u64::from_str_radix(text, 16) {
            // Rust takes a sign here, restic does not.
            Ok(bits) if !text.starts_with('+') => bits,
            _ => {
                return Err(FormatError::malformed(
                    "the chunker polynomial is not a hexadecimal number",
                ));
            }
        };
        Self::from_bits(bits)
    }
}

impl Serialize for Polynomial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Polynomial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// `None` for the zero polynomial.
fn degree(bits: u64) -> Option<u32> {
    bits.checked_ilog2()
}

/// Ben-Or's test: a factor of degree d divides x^(2^d) − x, so common divisors with those up to half of the
/// degree betray every reducible polynomial. Most fall to the first few.
///
/// `bits` has a degree from 1 to 62.
fn is_irreducible(bits: u64) -> bool {
    const X: u64 = 0b10;
    let half = degree(bits).unwrap_or(0) / 2;
    let mut power = X;
    for _ in 0..half {
        power = multiply(power, power, bits);
        if gcd(bits, power ^ X) != 1 {
            return false;
        }
    }
    true
}

/// a · b mod `modulus`, where `a` is reduced and the modulus has a degree below 63.
fn multiply(mut a: u64, mut b: u64, modulus: u64) -> u64 {
    let top = degree(modulus).unwrap_or(0);
    let mut product = 0;
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        b >>= 1;
        a <<= 1;
        if a >> top & 1 == 1 {
            a ^= modulus;
        }
    }
    product
}

fn remainder(mut a: u64, b: u64) -> u64 {
    while let (Some(of_a), Some(of_b)) = (degree(a), degree(b))
        && of_a >= of_b
    {
        a ^= b << (of_a - of_b);
    }
    a
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, remainder(a, b));
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Irreducible by trial division, which is sure and slow.
    fn by_division(bits: u64) -> bool {
        let half = degree(bits).unwrap() / 2;
        (2..2 << half).all(|divisor| remainder(bits, divisor) != 0)
    }

    #[test]
    fn agrees_with_trial_division_on_small_ones() {
        let irreducible = (2..1 << 12).filter(|&bits| {
            assert_eq!(is_irreducible(bits), by_division(bits), "{bits:b}");
            by_division(bits)
        });
        // Necklace counts for the degrees 1 to 11.
        assert_eq!(
            irreducible.count(),
            2 + 1 + 2 + 3 + 6 + 9 + 18 + 30 + 56 + 99 + 186
        );
    }

    #[test]
    fn polynomials_of_real_repositories() {
        for text in ["3742ba10346121", "2c2d74b4be0451", "25b468838dcb75"] {
            let polynomial: Polynomial = text.parse().unwrap();
            assert_eq!(polynomial.to_string(), text);
            assert_eq!(
                serde_json::from_str::<Polynomial>(&format!("\"{text}\"")).unwrap(),
                polynomial
            );
        }
    }

    #[test]
    fn others_are_refused() {
        // Reducible by x, reducible by x + 1, too small, too large, and no numbers.
        for text in [
            "3742ba10346120",
            "20000000000001",
            "b",
            "0",
            "43742ba10346121",
            "+3742ba10346121",
            "0x3742ba10346121",
            "",
            "3742ba10346121 ",
            "ffffffffffffffffff",
        ] {
            assert!(
                matches!(text.parse::<Polynomial>(), Err(FormatError::Malformed(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn new_ones_are_accepted_and_differ() {
        let [a, b] = [(); 2].map(|()| Polynomial::generate().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.to_string().parse(), Ok(a));
    }

    proptest! {
        #[test]
        fn products_are_reducible(a in 2_u64..1 << 26, b in 2_u64..1 << 27) {
            // With a modulus beyond every product nothing is reduced.
            let product = multiply(a, b, 1 << 62);
            prop_assert_eq!(degree(product).unwrap(), degree(a).unwrap() + degree(b).unwrap());
            prop_assert!(!is_irreducible(product));
            prop_assert_eq!(remainder(product, a), 0);
        }

        #[test]
        fn foreign_text_never_panics(text in ".{0,20}", bits in any::<u64>()) {
            let _ = text.parse::<Polynomial>();
            let _ = Polynomial::from_bits(bits);
        }
    }
}

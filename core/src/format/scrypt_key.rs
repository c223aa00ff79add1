//! Keys that scrypt makes of passwords, at a cost that is bounded before it is paid.

use zeroize::Zeroizing;

use super::{FormatError, MasterKey, RAW_KEY_BYTES};

/// Bytes of a salt; restic refuses any other number.
pub const SALT_BYTES: usize = 64;

/// Memory that opening a key file may take, in bytes.
///
/// restic stays below 60 MiB when it writes one, and a phone would end the app long before it has 1 GiB: the
/// bound is for desktops, where somebody may have chosen much on purpose.
pub const SCRYPT_MEMORY_MAX: u64 = 1 << 30;

/// Bytes that scrypt may mix (128 · N · r · p) to open a key file.
///
/// restic's own files ask for up to about 160 MiB. A phone mixes some 300 MiB a second, so that this bound is
/// near a quarter of a minute: bearable once, and the most that a hostile store can cost with each file.
pub const SCRYPT_WORK_MAX: u64 = 4 << 30;

/// Cost of a key derivation, in the names of RFC 7914.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScryptParams {
    /// Cost in memory and time; a power of two above 1.
    pub n: u64,
    /// Block size, in units of 128 bytes.
    pub r: u32,
    /// How often the whole is done.
    pub p: u32,
}

impl Default for ScryptParams {
    /// 32 MiB and about a tenth of a second on a phone.
    fn default() -> Self {
        Self {
            n: 32_768,
            r: 8,
            p: 1,
        }
    }
}

impl ScryptParams {
    /// Bytes that scrypt holds at once, which in 128 bits do not overflow.
    fn memory(self) -> u128 {
        128 * u128::from(self.r) * (u128::from(self.n) + u128::from(self.p))
    }

    /// What the crate takes, or why this must not be run.
    fn checked(self) -> Result<scrypt::Params, FormatError> {
        let Self { n, r, p } = self;
        let invalid = || FormatError::malformed(format!("scrypt cannot run with N={n}, r={r}, p={p}"));
        if n < 2 || !n.is_power_of_two() || r == 0 || p == 0 {
            return Err(invalid());
        }
        let work = (128 * u128::from(n)).saturating_mul(u128::from(r) * u128::from(p));
        for (what, claimed, limit) in [
            ("the key derivation in memory", self.memory(), SCRYPT_MEMORY_MAX),
            ("the key derivation in work", work, SCRYPT_WORK_MAX),
        ] {
            if claimed > u128::from(limit) {
                let claimed = u64::try_from(claimed).unwrap_or(u64::MAX);
                return Err(FormatError::TooLarge { what, claimed, limit });
            }
        }
        // A power of two in 64 bits has an exponent below 64.
        scrypt::Params::new(n.trailing_zeros() as u8, r, p).map_err(|_| invalid())
    }
}

/// The key that a password stands for: it has the shape of a master key and seals the same way.
pub(super) fn derive(
    password: &str,
    salt: &[u8; SALT_BYTES],
    params: ScryptParams,
) -> Result<MasterKey, FormatError> {
    let memory = params.memory();
    let params = params.checked()?;
    // The crate would end the process where this fails, as it may where addresses have 32 bits.
    let room = usize::try_from(memory).map_err(|_| FormatError::NoMemory)?;
    let mut trial = Vec::<u8>::new();
    trial.try_reserve_exact(room).map_err(|_| FormatError::NoMemory)?;
    // Without a use of it the optimiser may take an allocation for granted.
    drop(std::hint::black_box(trial));
    let mut raw = Zeroizing::new([0; RAW_KEY_BYTES]);
    scrypt::scrypt(password.as_bytes(), salt, &params, &mut *raw)
        .map_err(|error| FormatError::malformed(error.to_string()))?;
    MasterKey::from_raw(&raw)
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn outputs_of_scrypt_are_those_of_rfc_7914_and_of_restic() {
        let vectors: Value =
            serde_json::from_str(include_str!("../../../tests/vectors/scrypt.json")).unwrap();
        for vector in vectors["rfc7914"]
            .as_array()
            .unwrap()
            .iter()
            .chain(vectors["restic"].as_array().unwrap())
        {
            let number = |field: &str| vector[field].as_u64().unwrap();
            let text = |field: &str| vector[field].as_str();
            let params = ScryptParams {
                n: number("N"),
                r: number("r") as u32,
                p: number("p") as u32,
            };
            let salt = match text("salt_hex") {
                Some(salt) => hex::decode(salt).unwrap(),
                None => STANDARD.decode(text("salt_base64").unwrap()).unwrap(),
            };
            let mut out = [0; 64];
            let password = text("password").unwrap().as_bytes();
            scrypt::scrypt(password, &salt, &params.checked().unwrap(), &mut out).unwrap();
            assert_eq!(hex::encode(out), text("out_hex").unwrap());
        }
    }

    #[test]
    fn the_bounds_admit_what_they_name() {
        let memory = ScryptParams {
            n: 1 << 19,
            r: 8,
            p: 1,
        };
        let work = ScryptParams {
            n: 1 << 15,
            r: 8,
            p: 128,
        };
        for params in [memory, work] {
            assert!(params.checked().is_ok());
            let more = ScryptParams {
                n: params.n * 2,
                ..params
            };
            assert!(matches!(more.checked(), Err(FormatError::TooLarge { .. })));
        }
    }

    proptest! {
        #[test]
        fn any_parameters_are_judged_without_running(n: u64, r: u32, p: u32) {
            let _ = ScryptParams { n, r, p }.checked();
            let _ = ScryptParams { n: 1 << (n % 64), r, p }.checked();
        }
    }
}

//! How the laws in unit tests are tried: random cases, but the same ones each time.

use proptest::test_runner::{Config, RngSeed};

/// So many cases. `PROPTEST_CASES` asks for another number, `PROPTEST_RNG_SEED` for other cases.
#[expect(clippy::disallowed_methods, reason = "a test is asked in the environment")]
pub(crate) fn cases(cases: u32) -> Config {
    let asked = Config::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { asked.cases } else { cases };
    let rng_seed = if asked.rng_seed == RngSeed::Random { RngSeed::Fixed(1) } else { asked.rng_seed };
    Config { cases, rng_seed, failure_persistence: None, ..asked }
}

use crate::exp::exp;

/// The number of logits whose exponentials are in memory at a time; a multiple of the number of sums.
const BLOCK: usize = 512;

/// The logarithm of the sum of the exponentials of logits, from which their log probabilities follow.
#[derive(Debug, Clone, Copy)]
pub struct LogSumExp {
    /// The largest logit.
    max: f32,
    /// The logarithm of the sum of the exponentials of `logit - max`.
    ln_sum: f64,
}

/// Computes the logarithm of the sum of the exponentials of `logits`. `None` if there are none or one is not finite.
pub fn log_sum_exp(logits: &[f32]) -> Option<LogSumExp> {
    // One pass for both. Neither changes at NaN, which the sum finds.
    let (min, max) =
        logits.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), &logit| {
            (min.min(logit), max.max(logit))
        });
    // Exponentials in float32 for speed, their sum in float64 for precision.
    let mut sums = Sums::default();
    let mut exponentials = [0.0_f32; BLOCK];
    for logits in logits.chunks(BLOCK) {
        let exponentials = &mut exponentials[..logits.len()];
        for (exponent, &logit) in exponentials.iter_mut().zip(logits) {
            *exponent = logit - max;
        }
        exp(exponentials);
        sums.add(exponentials);
    }
    let sum = sums.total();
    (sum.is_finite() && min.is_finite()).then(|| LogSumExp { max, ln_sum: sum.ln() })
}

impl LogSumExp {
    /// The log probability of a token with the logit `logit`, in nats.
    pub fn logprob(&self, logit: f32) -> f32 {
        (f64::from(logit - self.max) - self.ln_sum) as f32
    }
}

/// Computes the sum of `numbers`, in float64.
pub fn sum(numbers: &[f32]) -> f64 {
    let mut sums = Sums::default();
    sums.add(numbers);
    sums.total()
}

/// Several sums, so that an addition does not wait for the one before.
#[derive(Default)]
struct Sums([f64; 8]);

impl Sums {
    /// Adds `numbers`. Only the last ones may have a count that is not a multiple of the number of sums.
    fn add(&mut self, numbers: &[f32]) {
        for chunk in numbers.chunks(self.0.len()) {
            for (sum, &number) in self.0.iter_mut().zip(chunk) {
                *sum += f64::from(number);
            }
        }
    }

    fn total(&self) -> f64 {
        self.0.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_are_those_of_float64() {
        for count in [1, 7, 512, 513, 4099] {
            let logits: Vec<f32> = (0..count).map(|at| (at as f32 * 0.7).sin() * 30.0).collect();
            let all: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();

            let found = log_sum_exp(&logits).unwrap();

            for logit in [logits[0], logits[count / 2], logits[count - 1]] {
                let expected = f64::from(logit) - all.ln();
                let off = (f64::from(found.logprob(logit)) - expected).abs();
                assert!(off <= 4e-6, "{count}: {off}");
            }
            assert!(
                (sum(&logits) - logits.iter().map(|&x| f64::from(x)).sum::<f64>()).abs() < 1e-9
            );
        }
        // Their exponentials are beyond float32.
        let found = log_sum_exp(&[1000.0, 1000.0]).unwrap();
        assert!((found.logprob(1000.0) - 0.5_f32.ln()).abs() < 1e-7);
    }

    #[test]
    fn a_logit_that_is_not_finite_gives_none() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 3, 600] {
                let mut logits = vec![1.0; 601];
                logits[at] = bad;
                assert!(log_sum_exp(&logits).is_none(), "{bad} at {at}");
            }
        }
        assert!(log_sum_exp(&[]).is_none());
    }
}

//! The conditions and the waits for repeating a request.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// The number of times that a request is sent.
pub(super) const MAX_ATTEMPTS: u32 = 6;
/// The number of times that a request is sent that is not answered in time.
pub(super) const MAX_SLOW_ATTEMPTS: u32 = 2;
/// The longest wait that an endpoint can ask for.
pub(super) const MAX_WAIT: Duration = Duration::from_mins(5);

/// Returns whether a request that was answered with this status may be answered otherwise later.
pub(super) fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 409 | 425 | 429 | 500..=599) && status != 501
}

/// The wait before the attempt after `attempt`, which counts from 0: the first one, doubled each time.
pub(super) fn backoff(first: Duration, attempt: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(attempt)).min(MAX_WAIT)
}

/// The wait in a `Retry-After` header: a number of seconds, or a date.
pub(super) fn retry_after(header: &str, now: DateTime<Utc>) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<f64>() {
        // A number that no duration holds is a long wait.
        let wait = Duration::try_from_secs_f64(seconds);
        return (seconds >= 0.0).then(|| wait.unwrap_or(Duration::MAX));
    }
    let date = DateTime::parse_from_rfc2822(header).ok()?;
    Some((date.with_timezone(&Utc) - now).to_std().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_as_seconds_and_as_a_date() {
        let now = DateTime::parse_from_rfc2822("Wed, 21 Oct 2015 07:28:00 GMT").unwrap().to_utc();
        let seconds = |text| retry_after(text, now).map(|wait| wait.as_secs_f64());

        assert_eq!(seconds("7"), Some(7.0));
        assert_eq!(seconds(" 0.5 "), Some(0.5));
        assert_eq!(seconds("Wed, 21 Oct 2015 07:28:30 GMT"), Some(30.0));
        assert_eq!(seconds("Wed, 21 Oct 2015 07:27:00 GMT"), Some(0.0));
        for text in ["", "soon", "-1", "NaN"] {
            assert_eq!(seconds(text), None, "{text}");
        }
        for text in ["1e300", "inf"] {
            assert_eq!(retry_after(text, now), Some(Duration::MAX), "{text}");
        }
    }

    #[test]
    fn waits_double_and_are_bounded() {
        let waits = [0, 1, 2, 30, u32::MAX].map(|attempt| backoff(Duration::from_secs(1), attempt));

        assert_eq!(waits.map(|wait| wait.as_secs()), [1, 2, 4, 300, 300]);
    }

    #[test]
    fn only_what_may_pass_is_repeated() {
        let repeated: Vec<u16> = [200, 301, 400, 401, 403, 404, 429, 500, 501, 503, 529]
            .into_iter()
            .filter(|&s| may_pass(s))
            .collect();

        assert_eq!(repeated, [429, 500, 503, 529]);
    }
}

//! The settings in AWS's environment variables.

use object_store::ClientOptions;
use object_store::aws::AmazonS3ConfigKey;

/// Variables any of which names credentials.
const CREDENTIALS: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];
/// Variables any of which names the server of buckets, the first that is set taking precedence.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

/// The server of buckets that the environment names, if it names one.
pub(crate) fn endpoint() -> Option<String> {
    ENDPOINTS.iter().find_map(|name| std::env::var(name).ok())
}

/// The options of the client that AWS's environment variables set.
pub(crate) fn environment_options() -> ClientOptions {
    let mut options = ClientOptions::new();
    for (name, value) in std::env::vars_os() {
        if let (Some(name), Some(value)) = (name.to_str(), value.to_str())
            && name.starts_with("AWS_")
            && let Ok(AmazonS3ConfigKey::Client(key)) = name.to_ascii_lowercase().parse()
        {
            options = options.with_config(key, value);
        }
    }
    options
}

/// Returns whether a variable names credentials.
pub(crate) fn has_credential_variables() -> bool {
    CREDENTIALS.iter().any(|name| std::env::var_os(name).is_some())
}

/// Returns whether a setting is on, in any of the spellings that object_store reads.
pub(crate) fn is_true(value: Option<String>) -> bool {
    let value = value.map(|value| value.to_ascii_lowercase());
    matches!(value.as_deref(), Some("true" | "1" | "on" | "yes" | "y"))
}

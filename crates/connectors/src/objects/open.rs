//! Clients of the stores, as far as they are built in, configured by the environment.
//!
//! The variables are those of crate `object_store`: `AWS_…`, `GOOGLE_…` (and `SERVICE_ACCOUNT`), `AZURE_…`,
//! such as `AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL`, and `AWS_ALLOW_HTTP=true` for an endpoint
//! without TLS. Files of profiles are not read.

use std::sync::Arc;

use object_store::ObjectStore;

use super::url::{STORES, StoreUrl};
use crate::{Error, Result};

/// Variables, as pairs of name and value.
pub(super) type Variables = [(String, String)];

/// Values of fewer characters are no secrets, and would be cut from innocent words.
const SECRET_CHARS_MIN: usize = 8;

/// The client of a URL's bucket.
pub(super) fn client(url: &StoreUrl, variables: &Variables) -> Result<Arc<dyn ObjectStore>> {
    match url.kind() {
        #[cfg(feature = "s3")]
        super::url::StoreKind::S3 => clouds::s3(url, variables),
        #[cfg(feature = "gcs")]
        super::url::StoreKind::Gcs => clouds::gcs(url, variables),
        #[cfg(feature = "azure")]
        super::url::StoreKind::Azure => clouds::azure(url, variables),
        #[allow(unreachable_patterns, reason = "all three may be built in")]
        kind => {
            let _ = variables;
            let feature = STORES.iter().find(|(known, ..)| *known == kind);
            Err(Error::StoreNotBuilt {
                url: url.to_string(),
                feature: feature.map_or("s3", |(.., feature)| feature),
            })
        }
    }
}

/// What no message may hold: the values of variables whose names speak of secrets.
pub(super) fn secrets(variables: &Variables) -> Vec<String> {
    const STORES: [&str; 4] = ["AWS_", "GOOGLE_", "AZURE_", "SERVICE_ACCOUNT"];
    const PARTS: [&str; 5] = ["KEY", "SECRET", "TOKEN", "SAS", "PASSWORD"];
    let is_secret = |name: &str| {
        STORES.iter().any(|store| name.starts_with(store))
            && PARTS.iter().any(|part| name.contains(part))
    };
    variables
        .iter()
        .filter(|(name, value)| is_secret(name) && value.len() >= SECRET_CHARS_MIN)
        .map(|(_, value)| value.clone())
        .collect()
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
mod clouds {
    use std::time::Duration;

    use object_store::{BackoffConfig, ClientOptions, RetryConfig};

    use super::*;

    /// How long one request may take, which is 8 MiB at most either way; at 0.4 MB/s it still does.
    const REQUEST: Duration = Duration::from_secs(25);
    const CONNECT: Duration = Duration::from_secs(5);
    /// After which a request that failed is not tried again: a wrong endpoint is told in half a minute.
    const AGAIN: Duration = Duration::from_secs(15);

    fn client_options() -> ClientOptions {
        ClientOptions::new()
            .with_timeout(REQUEST)
            .with_connect_timeout(CONNECT)
    }

    fn retries() -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(5),
                base: 2.0,
            },
            max_retries: 10,
            retry_timeout: AGAIN,
        }
    }

    /// Each builder has methods of the same names, and no trait.
    macro_rules! built {
        ($builder:ty, $url:expr, $variables:expr, $is_its:expr) => {{
            let mut builder = <$builder>::new()
                .with_url($url.root())
                .with_client_options(client_options())
                .with_retry(retries());
            for (name, value) in $variables.iter().filter(|(name, _)| $is_its(name)) {
                if let Ok(key) = name.to_ascii_lowercase().parse() {
                    builder = builder.with_config(key, value);
                }
            }
            match builder.build() {
                Ok(client) => Ok(Arc::new(client) as Arc<dyn ObjectStore>),
                Err(error) => Err(crate::objects::failure::of_request(
                    $url,
                    "setting up the client",
                    &error,
                    &secrets($variables),
                )),
            }
        }};
    }

    #[cfg(feature = "s3")]
    pub(super) fn s3(url: &StoreUrl, variables: &Variables) -> Result<Arc<dyn ObjectStore>> {
        let is_ours = |name: &str| name.starts_with("AWS_") && name != "AWS_BUCKET";
        built!(object_store::aws::AmazonS3Builder, url, variables, is_ours)
    }

    #[cfg(feature = "gcs")]
    pub(super) fn gcs(url: &StoreUrl, variables: &Variables) -> Result<Arc<dyn ObjectStore>> {
        let is_ours = |name: &str| name.starts_with("GOOGLE_") || name == "SERVICE_ACCOUNT";
        built!(
            object_store::gcp::GoogleCloudStorageBuilder,
            url,
            variables,
            is_ours
        )
    }

    #[cfg(feature = "azure")]
    pub(super) fn azure(url: &StoreUrl, variables: &Variables) -> Result<Arc<dyn ObjectStore>> {
        let is_ours = |name: &str| name.starts_with("AZURE_") || name == "IDENTITY_ENDPOINT";
        built!(
            object_store::azure::MicrosoftAzureBuilder,
            url,
            variables,
            is_ours
        )
    }
}

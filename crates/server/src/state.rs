use std::sync::Arc;

use crate::config::Config;
use crate::scope::Scope;

/// What every handler sees.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    pub(crate) scope: Arc<Scope>,
    pub(crate) config: Arc<Config>,
}

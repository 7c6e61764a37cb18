//! The models that chats can use, and the keys to call them with.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chatplane_domain::OrganizationId;

use super::{App, Error};
use crate::store::ModelRow;

/// Keys of providers, by provider. In this replica's memory only; never logged.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    keys: BTreeMap<String, String>,
}

impl Credentials {
    /// Keys by provider.
    #[must_use]
    pub(crate) fn new(keys: BTreeMap<String, String>) -> Self {
        Self { keys }
    }

    /// The key of a provider.
    #[must_use]
    pub(crate) fn key(&self, provider: &str) -> Option<&str> {
        self.keys.get(provider).map(String::as_str)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

/// When the models of which organization were read, and what they were.
type Read = (Instant, OrganizationId, Arc<Vec<ModelRow>>);

/// The models of the last moment: they change rarely and are needed with every turn.
pub(crate) struct ModelCatalog {
    credentials: Credentials,
    ttl: Duration,
    read: Mutex<Option<Read>>,
}

impl ModelCatalog {
    /// A catalog that reads again after `ttl`.
    #[must_use]
    pub(crate) fn new(credentials: Credentials, ttl: Duration) -> Self {
        Self { credentials, ttl, read: Mutex::new(None) }
    }

    /// The key to call a model with.
    #[must_use]
    pub(crate) fn key(&self, model: &ModelRow) -> Option<&str> {
        self.credentials.key(&model.provider)
    }
}

impl App {
    /// The models of an organization, by name.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn models_of(&self, organization: OrganizationId) -> Result<Arc<Vec<ModelRow>>, Error> {
        let catalog = &self.inner.models;
        let now = Instant::now();
        {
            let read = catalog.read.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((since, of, models)) = &*read
                && *of == organization
                && now.duration_since(*since) < catalog.ttl
            {
                return Ok(Arc::clone(models));
            }
        }
        let models = Arc::new(self.inner.store.models(organization).await?);
        let mut read = catalog.read.lock().unwrap_or_else(PoisonError::into_inner);
        *read = Some((now, organization, Arc::clone(&models)));
        Ok(models)
    }

    /// Whether chats can use the model that a command names, if it names one.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn is_usable(
        &self,
        organization: OrganizationId,
        name: Option<&str>,
    ) -> Result<bool, Error> {
        let Some(name) = name else { return Ok(true) };
        match self.model(organization, Some(name)).await {
            Ok(_) => Ok(true),
            Err(Error::ModelNotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The model with this name, or the default one.
    ///
    /// # Errors
    ///
    /// `ModelNotFound`.
    pub(crate) async fn model(
        &self,
        organization: OrganizationId,
        name: Option<&str>,
    ) -> Result<ModelRow, Error> {
        let models = self.models_of(organization).await?;
        let found = models.iter().find(|model| match name {
            Some(name) => model.name == name,
            None => model.is_default,
        });
        found.cloned().ok_or(Error::ModelNotFound)
    }
}

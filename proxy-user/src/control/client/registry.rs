//! Calls about registries and what comes from them.

use hyper::Method;

use super::exchange::encode;
use super::{ChangeOptions, Client, ClientError, Tagged};
use crate::control::types::{
    AcceptAnswer, Applied, Endpoints, PublishPut, Registries, RegistryStatus, SyncAnswer,
};

impl Client {
    /// All registries.
    pub async fn registries(&self) -> Result<Tagged<Registries>, ClientError> {
        self.get("/v1/registries").await
    }

    /// A registry.
    pub async fn registry(&self, registry: &str) -> Result<Tagged<RegistryStatus>, ClientError> {
        self.get(&format!("/v1/registries/{}", encode(registry))).await
    }

    /// Every endpoint and backend that is known of for a service.
    pub async fn endpoints(&self, service: &str) -> Result<Tagged<Endpoints>, ClientError> {
        self.get(&format!("/v1/services/{}/endpoints", encode(service))).await
    }

    /// Asks a registry again, or all of them.
    pub async fn sync(&self, registry: Option<&str>) -> Result<SyncAnswer, ClientError> {
        let target = match registry {
            Some(registry) => format!("/v1/registries/{}/sync", encode(registry)),
            None => "/v1/registries/sync".to_owned(),
        };
        self.bare(Method::POST, &target, ChangeOptions::default()).await
    }

    /// Carries out the removals of a service that are held; with the number of the hold that was shown, none but those.
    pub async fn accept(&self, service: &str, hold: Option<u32>) -> Result<AcceptAnswer, ClientError> {
        let hold = hold.map(|number| format!("?hold={number}")).unwrap_or_default();
        let target = format!("/v1/services/{}/accept{hold}", encode(service));
        self.bare(Method::POST, &target, ChangeOptions::default()).await
    }

    /// Takes a service's VIP out of its registries, or puts it back.
    pub async fn set_withdrawn(
        &self,
        service: &str,
        withdrawn: bool,
        options: ChangeOptions,
    ) -> Result<Applied, ClientError> {
        let target = format!("/v1/services/{}/publish", encode(service));
        self.change(Method::PUT, &target, &PublishPut { withdrawn }, options, &[]).await
    }
}

//! Calls about the L7 path.

use hyper::Method;

use super::exchange::{encode, with_query};
use super::{ChangeOptions, Client, ClientError, Tagged};
use crate::control::types::{
    Applied, L7Answer, L7Connections, L7Query, L7Routes, L7Settings, L7SettingsDocument, L7Status,
};

impl Client {
    /// The workers.
    pub async fn l7_status(&self) -> Result<Tagged<L7Status>, ClientError> {
        self.get("/v1/l7").await
    }

    /// Live connections: up to `limit` of each worker.
    pub async fn l7_connections(
        &self,
        service: Option<&str>,
        limit: u32,
    ) -> Result<Tagged<L7Connections>, ClientError> {
        let mut query = vec![format!("limit={limit}")];
        query.extend(service.map(|service| format!("service={}", encode(service))));
        self.get(&with_query("/v1/l7/connections", &query)).await
    }

    /// What workers route by.
    pub async fn l7_routes(&self, service: Option<&str>) -> Result<Tagged<L7Routes>, ClientError> {
        let query: Vec<_> =
            service.map(|service| format!("service={}", encode(service))).into_iter().collect();
        self.get(&with_query("/v1/l7/routes", &query)).await
    }

    /// How the L7 path serves a service.
    pub async fn l7_settings(&self, service: &str) -> Result<Tagged<L7SettingsDocument>, ClientError> {
        self.get(&settings_path(service)).await
    }

    /// Sets how the L7 path serves a service, all of it.
    pub async fn put_l7_settings(
        &self,
        service: &str,
        settings: &L7Settings,
        options: ChangeOptions,
    ) -> Result<Applied, ClientError> {
        self.change(Method::PUT, &settings_path(service), settings, options, &[]).await
    }

    /// Drops what the API has set of it.
    pub async fn delete_l7_settings(
        &self,
        service: &str,
        options: ChangeOptions,
    ) -> Result<Applied, ClientError> {
        self.bare(Method::DELETE, &settings_path(service), options).await
    }

    /// What would become of a request.
    pub async fn explain_l7(&self, query: &L7Query) -> Result<L7Answer, ClientError> {
        self.change(Method::POST, "/v1/explain/l7", query, ChangeOptions::default(), &[]).await
    }
}

fn settings_path(service: &str) -> String {
    format!("/v1/services/{}/l7", encode(service))
}

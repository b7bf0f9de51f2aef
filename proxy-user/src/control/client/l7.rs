//! Calls about the L7 path.

use hyper::Method;

use super::exchange::{encode, with_query};
use super::{ChangeOptions, Client, ClientError, Tagged};
use crate::control::types::{L7Answer, L7Connections, L7Query, L7Routes, L7Status};

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

    /// What would become of a request.
    pub async fn explain_l7(&self, query: &L7Query) -> Result<L7Answer, ClientError> {
        self.change(Method::POST, "/v1/explain/l7", query, ChangeOptions::default(), &[]).await
    }
}

//! The vendor's API at `/`: signed requests, each with an action. The status is always 200.
//! [`ota_cloud::vendor`] decodes requests and decides errors.

mod auth;
mod batch;
mod devices;
mod firmware;
mod modules;
mod products;
mod upload;
mod watch;

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use ota_cloud::api::{Caller, Grant, Problem, Right};
use ota_cloud::vendor::{self, Action, ApiError, CONTENT_TYPE, Code};
use ota_proto::{Identity, Instant};
use ota_store::{Item, Kind, NewAudit, Read, StoreError};
use serde_json::{Value, json};

use super::batches::Walk;
use super::{Api, Line, What, corrupt};
use crate::cycle::Rider;
use crate::hub::Hub;
use crate::random;

pub(crate) use upload::sweep;
pub(super) use upload::{PATH, forget, put};

/// The largest body in bytes. Batches with more names have them in a file.
const MAX_BODY: usize = 256 * 1024;

/// The result of an action.
type Answer = Result<Value, ApiError>;

/// Answers a request at `/`. It runs to its end even if the client disconnects, so that a batch is
/// created completely.
pub(super) async fn answer(api: Api, peer: SocketAddr, request: Request, id: String) -> Response {
    let (for_run, for_line) = (api.clone(), id.clone());
    let run = tokio::spawn(async move {
        let mut line = Line { request: for_line, ..Line::default() };
        let answer = auth::run(for_run, peer, request, &mut line).await;
        (answer, line)
    });
    let (answer, line) = run.await.unwrap_or_else(|_| {
        (Err(ApiError::new(Code::InternalError, "internal error")), Line::default())
    });
    let (method, path) = line.call.unwrap_or(("", ""));
    let key = line.key.unwrap_or_default();
    let what = What::Called { peer, key, method, path, status: 200, request: id.clone() };
    api.0.journal.write(None, what);
    let body = match &answer {
        Ok(value) => vendor::reply(&id, Ok(value.clone())),
        Err(why) => vendor::reply(&id, Err(why)),
    };
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let left = |why: &ApiError| {
        why.code == Code::RequestLimitExceeded || why.code.as_str().starts_with("AuthFailure.")
    };
    if answer.as_ref().is_err_and(left) {
        // The body is not read.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What a handler knows of an authenticated request.
#[derive(Clone)]
struct Asked {
    api: Api,
    caller: Caller,
    /// The rights for the request's product, if it names one.
    grant: Grant,
    action: &'static str,
    /// The prefix of upload URLs.
    base: String,
    /// The id of the request.
    id: String,
    /// The address that it is from.
    from: IpAddr,
}

impl Asked {
    /// A device of the request's product.
    fn device(&self, name: &str) -> Result<Identity, ApiError> {
        self.grant.device(name).map_err(|why| (&why).into())
    }

    fn product(&self) -> String {
        self.grant.product().to_owned()
    }

    /// The products that the caller may see.
    fn sees(&self, product: &str) -> bool {
        self.caller.sees(product)
    }

    /// Reads outside the hub's loop.
    async fn read<T: Send + 'static>(
        &self,
        run: impl FnOnce(&dyn Read) -> Result<T, Oops> + Send + 'static,
    ) -> Result<T, ApiError> {
        let read = self.api.read(move |read| match run(read) {
            Ok(done) => Ok(Ok(done)),
            Err(Oops::Refused(why)) => Ok(Err(why)),
            Err(Oops::Store(why)) => Err(why),
        });
        read.await.map_err(|why| ApiError::from(&why))?
    }

    /// Starts a walk through the batches of the product.
    fn begin_walk(&self) -> Result<Walk, ApiError> {
        Ok(Walk::begin(&self.api, self.caller.id(), self.grant.product())?)
    }

    /// Runs a command on the hub. It is answered when its changes are durable.
    async fn ask<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Hub, Instant) -> Result<T, Oops> + Send + 'static,
    ) -> Result<T, ApiError> {
        let asked = self.api.ask(move |hub, _| {
            // The cloud's time starts at 1970.
            let now = hub.now();
            match run(hub, now) {
                Ok(done) => Ok(Ok(done)),
                Err(Oops::Refused(why)) => Ok(Err(why)),
                Err(Oops::Store(why)) => Err(why.into()),
            }
        });
        asked.await.map_err(|why| ApiError::from(&why))?
    }

    /// A line of the audit log.
    fn audit(&self, now: Instant, of: &str) -> NewAudit {
        let body = json!({
            "key": self.caller.id(),
            "call": format!("vendor {}", self.action),
            "product": self.grant.product(),
            "of": of,
            "request": self.id,
            "from": self.from.to_string(),
        });
        NewAudit { at: now.as_micros(), body: body.to_string().into_bytes() }
    }

    fn rider(&self, now: Instant, of: &str) -> Rider {
        let mut rider = Rider::default();
        rider.audit.push(self.audit(now, of));
        rider
    }
}

/// Why a command failed; it changed nothing.
enum Oops {
    Refused(ApiError),
    Store(StoreError),
}

impl From<ApiError> for Oops {
    fn from(why: ApiError) -> Self {
        Self::Refused(why)
    }
}

impl From<StoreError> for Oops {
    fn from(why: StoreError) -> Self {
        Self::Store(why)
    }
}

impl From<Problem> for Oops {
    fn from(why: Problem) -> Self {
        Self::Refused((&why).into())
    }
}

impl From<super::Failed> for Oops {
    fn from(why: super::Failed) -> Self {
        match why {
            super::Failed::Refused(why) => why.into(),
            super::Failed::Store(why) => Self::Store(why),
        }
    }
}

impl From<crate::cycle::CommandError> for Oops {
    fn from(why: crate::cycle::CommandError) -> Self {
        use crate::cycle::{CommandError, Refused};
        match why {
            // The vendor has codes of its own for these.
            CommandError::Refused(Refused::Command(why)) => Self::Refused(why.into()),
            CommandError::Refused(Refused::Catalog(why)) => Self::Refused(why.into()),
            why => super::Failed::from(why).into(),
        }
    }
}

/// All items of a kind under a prefix.
fn all(read: &dyn Read, kind: Kind, prefix: &str) -> Result<Vec<Item>, StoreError> {
    let mut items: Vec<Item> = Vec::new();
    loop {
        let after = items.last().map(|item| item.id.clone());
        let page = read.items(kind, prefix, after.as_deref(), 100)?;
        if page.is_empty() {
            return Ok(items);
        }
        items.extend(page);
    }
}

/// A page of a list.
fn page<T>(rows: impl IntoIterator<Item = T>, offset: u64, limit: u64) -> Vec<T> {
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    rows.into_iter().skip(number(offset)).take(number(limit.min(MAX_ROWS))).collect()
}

/// The most rows in an answer.
const MAX_ROWS: u64 = 250;

/// The offset of a numbered page.
const fn offset(number: u64, size: u64) -> u64 {
    number.saturating_sub(1).saturating_mul(size)
}

async fn dispatch(asked: Asked, action: Action) -> Answer {
    use Action as A;
    match action {
        A::GetCosUrl { .. } | A::CreateTaskFileUrl { .. } => upload::open(asked, action).await,
        A::UploadFirmware { .. } => upload::claim(asked, action).await,
        A::EditFirmware { .. } => firmware::edit(asked, action).await,
        A::ListFirmwares { .. } => firmware::list(asked, action).await,
        A::DescribeFirmware { version, module, .. } => {
            firmware::describe(asked, version, module).await
        }
        A::GetAllVersion { .. } => firmware::versions(asked).await,
        A::DeleteFirmware { version, .. } => firmware::delete(asked, version).await,
        A::GetFirmwareUrl { version, .. } => firmware::url(asked, version).await,
        A::BatchUpdateFirmware { .. } => batch::start(asked, action).await,
        A::UpdateFirmware { .. } => batch::start_one(asked, action).await,
        A::PublishFirmwareUpdateMessage { device, module, .. } => {
            batch::publish(asked, device, module).await
        }
        A::UpdateOtaTaskStatus { task, .. } => batch::cancel(asked, task).await,
        A::CancelDeviceFirmwareTask { device, version, task, .. } => {
            batch::act(asked, device, version, task, true).await
        }
        A::RetryDeviceFirmwareTask { device, version, task, .. } => {
            batch::act(asked, device, version, task, false).await
        }
        A::DescribeFirmwareTasks { .. } => watch::tasks(asked, action).await,
        A::DescribeFirmwareTask { version, task, .. } => watch::task(asked, version, task).await,
        A::DescribeFirmwareTaskDistribution { version, task, .. } => {
            watch::distribution(asked, version, task).await
        }
        A::DescribeFirmwareTaskDevices { .. } => watch::devices(asked, action).await,
        A::DescribeFirmwareTaskStatistics { version, .. } => {
            watch::statistics(asked, version).await
        }
        A::DescribeFirmwareUpdateStatus { device, .. } => {
            watch::one(asked, device, vendor::update_status).await
        }
        A::CheckFirmwareUpdate { device, .. } => {
            watch::one(asked, device, vendor::check_update).await
        }
        A::DescribeDeviceFirmwares { device, .. } => {
            watch::one(asked, device, |device| Ok(vendor::device_firmwares(device))).await
        }
        A::DescribeDeviceFirmWare { device, .. } => {
            watch::one(asked, device, |device| Ok(vendor::device_firmware(device))).await
        }
        A::CreateOtaModule { .. } | A::UpdateOtaModule { .. } | A::DeleteOtaModule { .. } => {
            modules::change(asked, action).await
        }
        A::ListOtaModules { page, size, .. } => {
            modules::list(asked, offset(page, size), size).await
        }
        A::ListProductOtaModules { .. } => modules::of_product(asked).await,
        A::DescribeProducts { offset, limit, .. } => products::list(asked, offset, limit).await,
        A::DescribeProduct { .. } => products::describe(asked).await,
        A::CreateProduct { .. } | A::CreateStudioProduct { .. } => {
            products::create(asked, action).await
        }
        A::DeleteProduct { product, .. } => products::delete(asked, product).await,
        A::UpdateProductDynamicRegister { kind, limit, .. } => {
            products::set_registration(asked, kind, limit).await
        }
        A::DescribeProductDynamicRegister { .. } => products::registration(asked).await,
        other => devices::dispatch(asked, other).await,
    }
}

//! The pages: what each shows, and what its forms do.

mod batches;
mod device;
mod devices;
mod entry;
mod firmware;
mod keys;
mod new_batch;
mod people;
mod plan;
mod products;
mod settings;

use axum::body::Body;
use ota_cloud::api::{Code, Form, Problem};

use super::cx::{Cx, Next};
use super::route::Route;
use super::upload;
pub(super) use batches::{live, results};

/// Shows a page.
pub(super) async fn show(cx: &mut Cx, route: &Route) -> Result<Next, Problem> {
    let (title, page) = match route {
        Route::Home => return Ok(Next::To("/console/products".to_owned())),
        Route::SignIn => return Ok(entry::sign_in(cx)),
        Route::First => entry::first(cx),
        Route::Join => entry::join(cx),
        Route::Language(word) => return Ok(entry::language(cx, word)),
        Route::Me => entry::me(cx),
        Route::People => people::show(cx).await?,
        Route::Keys => keys::show(cx).await?,
        Route::Audit => keys::audit(cx).await?,
        Route::Settings => settings::show(cx).await?,
        Route::Products => products::list(cx).await?,
        Route::Product(product) => products::show(cx, product).await?,
        Route::Devices(product) => devices::list(cx, product).await?,
        Route::Device(product, name) => device::show(cx, product, name).await?,
        Route::FirmwareList(product) => firmware::list(cx, product).await?,
        Route::Firmware(product, version) => firmware::show(cx, product, version).await?,
        Route::Batches(product) => batches::list(cx, product).await?,
        Route::NewBatch(product) => new_batch::show(cx, product).await?,
        Route::Batch(product, batch) => batches::show(cx, product, batch).await?,
        Route::Refused(product) => devices::refused(cx, product).await?,
        _ => return Err(Problem::new(Code::UnknownPath, "there is nothing at this path")),
    };
    Ok(Next::Page(title, page))
}

/// Does what a form asks for.
pub(super) async fn act(cx: &mut Cx, route: &Route) -> Result<Next, Problem> {
    match route {
        Route::SignIn => entry::do_sign_in(cx).await,
        Route::SignOut => entry::do_sign_out(cx).await,
        Route::First => entry::do_first(cx).await,
        Route::Join => entry::do_join(cx).await,
        Route::Me => entry::do_me(cx).await,
        Route::People => people::act(cx).await,
        Route::Keys => keys::act(cx).await,
        Route::Settings => settings::act(cx).await,
        Route::Products => products::add(cx).await,
        Route::Product(product) => products::act(cx, product).await,
        Route::Devices(product) => devices::act(cx, product).await,
        Route::Device(product, name) => device::act(cx, product, name).await,
        Route::Firmware(product, version) => firmware::act(cx, product, version).await,
        Route::NewBatch(product) => new_batch::act(cx, product).await,
        Route::Batch(product, batch) => batches::act(cx, product, batch).await,
        _ => Err(Problem::new(Code::BadMethod, "this page takes no form")),
    }
}

/// Takes an upload.
pub(super) async fn upload(
    cx: &mut Cx,
    route: &Route,
    kind: &str,
    body: Body,
) -> Result<Next, Problem> {
    let Route::FirmwareList(product) = route else {
        return Err(Problem::new(Code::BadType, "this page takes no upload"));
    };
    upload::receive(cx, kind, body, |form| firmware::target(product, form)).await?;
    Ok(Next::To(cx.path.clone()))
}

/// A form whose action is unknown.
fn unknown_action() -> Problem {
    Problem::new(Code::Invalid, "the form does not say what to do")
}

/// Whether the box for what cannot be undone was checked.
fn is_sure(form: &Form) -> Result<(), Problem> {
    let what = "check the box to do it";
    (form.get("sure") == "yes").then_some(()).ok_or_else(|| Problem::field("sure", what))
}

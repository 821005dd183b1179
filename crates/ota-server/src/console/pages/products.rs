//! Products.

use maud::html;
use ota_cloud::api::{Problem, Right, encode};
use serde_json::{Value, json};

use super::super::Shown;
use super::super::cx::{Cx, Next};
use super::super::text::T;
use super::super::view::{self, Input, of_product, rows, text};
use super::{is_sure, unknown_action};

pub(super) async fn list(cx: &Cx) -> Shown {
    let answer = cx.get("/api/v1/products").await?;
    let products = rows(&answer, "products");
    let root = cx.may(Right::Administer, None);
    let page = html! {
        section {
            @if products.is_empty() {
                p.empty { (cx.t(if root { T::NoProducts } else { T::NoProductsYours })) }
            } @else {
                ul {
                    @for product in products {
                        @let id = text(product, "id");
                        li { a href=(of_product(id, "")) { (id) } }
                    }
                }
            }
        }
        @if root {
            section {
                h2 { (cx.t(T::AddProduct)) }
                (view::form(cx, "add", &html! {
                    (Input::new("id", T::ProductId).hint(T::ProductIdHint)
                        .value(cx.form.get("id")).show(cx))
                    (Input::new("name", T::ForPeople).value(cx.form.get("name")).optional().show(cx))
                    (view::submit(cx, T::AddProduct))
                }))
            }
        }
    };
    Ok((cx.t(T::Products).to_owned(), page))
}

pub(super) async fn add(cx: &Cx) -> Result<Next, Problem> {
    let (id, name) = (cx.form.get("id"), cx.form.get("name"));
    cx.send("POST", "/api/v1/products", &json!({ "id": id, "name": name })).await?;
    Ok(Next::To(of_product(id, "")))
}

pub(super) async fn show(cx: &Cx, product: &str) -> Shown {
    let path = format!("/api/v1/products/{}", encode(product));
    let answer = cx.get(&path).await?;
    let steps =
        [("/devices", T::StepDevices), ("/firmware", T::StepFirmware), ("/batches", T::StepBatch)];
    let page = html! {
        (view::product_menu(cx, product))
        div.cols {
            section {
                h2 { (cx.t(T::WhatFirst)) }
                ol.steps {
                    @for (rest, step) in steps { li { a href=(of_product(product, rest)) { (cx.t(step)) } } }
                }
            }
            section {
                h2 { (cx.t(T::Product)) }
                dl {
                    dt { (cx.t(T::ProductId)) } dd { (product) }
                    dt { (cx.t(T::ForPeople)) } dd { (text(&answer, "name")) }
                    dt { (cx.t(T::Description)) } dd { (text(&answer, "description")) }
                    dt { (cx.t(T::Added)) } dd { (view::at(view::number(&answer, "made"))) }
                }
            }
        }
        @if cx.may(Right::Administer, None) {
            (view::danger(cx, "remove", T::RemoveProduct, Some(T::RemoveProductHint), T::RemoveSure))
        }
    };
    Ok((product.to_owned(), page))
}

pub(super) async fn act(cx: &Cx, product: &str) -> Result<Next, Problem> {
    if cx.form.get("do") != "remove" {
        return Err(unknown_action());
    }
    is_sure(&cx.form)?;
    let path = format!("/api/v1/products/{}", encode(product));
    cx.send("DELETE", &path, &Value::Null).await?;
    Ok(Next::To("/console/products".to_owned()))
}

//! The console in a browser: what a person does, from the first start to the reason of a failure.
//! Debian's chromium and chromedriver are driven; where they are missing, that is said and nothing
//! is tried. With `OTA_PICTURES` in the environment, pictures of the pages are put in that
//! folder, as PNG in Base64. With `OTA_AXE`, axe-core's script, each page keeps axe's rules too.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests on the real clock, whose helpers may fail them"
)]

mod common;

#[path = "common/browser.rs"]
mod browser;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use browser::{Browser, Driver};
use common::{Ota, Site, agent, image};
use serde_json::Value;

const PASSWORD: &str = "correct horse";

/// Rules of accessibility that a program can check: names of fields and links, one main heading,
/// a language, no repeated id, no sideways scrolling, and contrast as WCAG 2 computes it.
const RULES: &str = r#"
const faults = [];
const all = (css) => [...document.querySelectorAll(css)];
const shown = (e) => e.checkVisibility();
if (!document.documentElement.lang) faults.push("no language");
if (!document.title) faults.push("no title");
if (all("h1").length !== 1) faults.push("not one h1");
if (all("main").length !== 1) faults.push("not one main");
const ids = all("[id]").map((e) => e.id);
if (new Set(ids).size !== ids.length) faults.push("an id is repeated");
for (const e of all("input:not([type=hidden]),select,textarea"))
  if (!(e.labels && e.labels.length && e.labels[0].textContent.trim())) faults.push("no label: " + e.name);
for (const e of all("a,button,summary"))
  if (!e.textContent.trim()) faults.push("no name: " + e.outerHTML);
for (const e of all("progress,nav")) if (!e.getAttribute("aria-label")) faults.push("no name: " + e.outerHTML.slice(0, 80));
for (const e of all("[tabindex]")) if (e.tabIndex > 0) faults.push("an order of its own");
let level = 0;
for (const e of all("h1,h2,h3")) { const n = +e.tagName[1]; if (n > level + 1) faults.push("a heading is left out"); level = n; }
const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
if (wide > 0) faults.push("wider than the window by " + wide);
const parse = (c) => { const p = c.match(/[\d.]+/g).map(Number); return p.length < 4 ? [...p, 1] : p; };
const light = ([r, g, b]) => {
  const f = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
};
const back = (e) => {
  for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0) return c; }
  return [255, 255, 255, 1];
};
for (const e of all("body *")) {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !shown(e) || e.closest("svg")) continue;
  const [a, b] = [light(parse(getComputedStyle(e).color)), light(back(e))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) faults.push("contrast " + ratio.toFixed(2) + ": " + e.textContent.trim().slice(0, 40));
}
return faults;
"#;

/// Runs axe, whose script stands before it: what WCAG 2.1 asks at the levels A and AA, and what is
/// good practice.
const AXE: &str = r#"
const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"];
return axe.run({ runOnly: { type: "tag", values: tags }, resultTypes: ["violations"], preload: false })
  .then((found) => found.passes.length < 10 ? ["axe looked at nothing"] :
    found.violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.html.slice(0, 200))));
"#;

/// The page keeps the rules, narrow and wide, light and dark.
#[track_caller]
fn check(browser: &Browser<'_>, name: &str) {
    let pictures = std::env::var_os("OTA_PICTURES");
    let axe = std::env::var_os("OTA_AXE").map(|path| fs::read_to_string(path).unwrap() + AXE);
    for (width, scheme) in [(360, "light"), (360, "dark"), (1_920, "light"), (1_920, "dark")] {
        browser.size(width, 1_000);
        browser.scheme(scheme);
        let faults = browser.run(RULES);
        assert_eq!(faults, Value::Array(Vec::new()), "{name}, {width}, {scheme}");
        if let Some(axe) = &axe {
            let faults = browser.run(axe);
            assert_eq!(faults, Value::Array(Vec::new()), "axe: {name}, {width}, {scheme}");
        }
        if let Some(folder) = &pictures {
            let path = std::path::Path::new(folder).join(format!("{name}-{width}-{scheme}.base64"));
            fs::write(path, browser.picture()).unwrap();
        }
    }
}

/// Fills the fields by their names, and sends the form of the last one.
fn send(browser: &Browser<'_>, fields: &[(&str, &str)], button: &str) {
    for (name, value) in fields {
        browser.fill(&format!("main [name={name}]"), value);
    }
    browser.click(button);
}

/// The link of the start.
fn first_link(site: &Site) -> String {
    String::from_utf8(site.desk.read("data/first-link")).unwrap().trim().to_owned()
}

const NEXT: &str = "main .bar button[value=next]";
const SEND: &str = "main form button[type=submit]";

/// Chromedriver; `None` where it is missing, which is said.
fn driver() -> Option<Driver> {
    let driver = Driver::start();
    if driver.is_none() {
        println!("passed over: there is no chromedriver");
    }
    driver
}

/// An admin's browser, with a product, its devices and a firmware.
fn stocked<'d>(site: &Site, driver: &'d Driver) -> Browser<'d> {
    let browser = driver.browser(&site.desk.path("profile"), true);
    first_start(site, &browser);
    product_and_devices(site, &browser);
    firmware(site, &browser);
    browser
}

#[test]
#[ignore = "needs a browser: the gate runs it in a step of its own"]
fn from_the_first_start_to_the_reason_of_a_failure() {
    let Some(driver) = driver() else { return };
    let site = Site::new();
    let browser = stocked(&site, &driver);
    batch(&site, &browser);
    other_pages(&site, &browser);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// The link's code is in the form, and no longer in the address.
fn first_start(site: &Site, browser: &Browser<'_>) {
    browser.open(&first_link(site));
    browser.wait_for("Become an admin");
    assert_eq!(browser.run("return location.hash"), "");
    assert_eq!(browser.property("[name=code]", "value").as_str().unwrap().len(), 145);
    check(browser, "first");
    send(browser, &[("name", "root"), ("password", PASSWORD)], SEND);
    browser.wait_for("Make the first one");
    check(browser, "products-empty");
    browser.click(".account button");
    browser.wait_for("Sign in");
    check(browser, "sign-in");
    send(browser, &[("name", "root"), ("password", PASSWORD)], SEND);
}

/// Two devices: the second cannot install.
fn product_and_devices(site: &Site, browser: &Browser<'_>) {
    send(browser, &[("id", "TESTPROD01"), ("name", "lamp")], SEND);
    browser.wait_for("What to do");
    check(browser, "product");
    for (name, more) in
        [("dev001", ""), ("dev002", "restart = \"none\"\ninstall = [\"sh\", \"-c\", \"exit 9\"]")]
    {
        browser.click("nav.product a[href$='/devices']");
        send(browser, &[("name", name)], "section form[method=post] button[type=submit]");
        browser.wait_for("not shown again");
        let secret = browser.property(".secret", "value");
        site.desk.device_with(name, &site.mqtt, more);
        site.desk.replace(&format!("{name}.toml"), "\"secret\"", &format!("\"{name}.secret\""));
        let file = site.desk.write(&format!("{name}.secret"), secret.as_str().unwrap());
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    check(browser, "secret");
}

fn firmware(site: &Site, browser: &Browser<'_>) {
    let file = site.desk.write("image", image(3, 300_000));
    browser.click("nav.product a[href$='/firmware']");
    browser.wait_for("Upload the first one");
    send(browser, &[("version", "2.0.0"), ("file", &file)], "form.drop button[type=submit]");
    browser.wait_in("table", "300000 bytes");
    check(browser, "firmware");
}

/// A batch moves without being loaded again, and says why a device failed.
fn batch(site: &Site, browser: &Browser<'_>) {
    browser.click("nav.product a[href$='/batches']");
    browser.click("main p a.button");
    browser.wait_for("Which version");
    check(browser, "batch-new-1");
    browser.click(NEXT);
    browser.wait_for("Wave 1");
    check(browser, "batch-new-2");
    browser.click(NEXT);
    browser.wait_for("Devices that match now: 2");
    check(browser, "batch-new-3");
    browser.click("button[value=start]");
    browser.wait_for("Batch 1");
    browser.wait_in(".numbers .rest", "2");
    browser.run("window.same = true");
    let config = |name: &str| site.desk.path(&format!("{name}.toml")).to_str().unwrap().to_owned();
    let devices =
        ["dev001", "dev002"].map(|name| agent(&config(name), &["--once", "--wait", "90"]));
    browser.wait_in(".numbers .good", "1");
    browser.wait_in(".numbers .bad", "1");
    browser.wait_in("[data-live] table", "install failed");
    assert_eq!(browser.run("return window.same"), true);
    check(browser, "batch");
    drop(devices);
    browser.open(&format!("{}/console/products/TESTPROD01/devices/dev002", site.url));
    browser.wait_for("install failed");
    check(browser, "device");
}

fn other_pages(site: &Site, browser: &Browser<'_>) {
    let product = "products/TESTPROD01";
    for page in ["people", "keys", "audit", "settings", "me"] {
        browser.open(&format!("{}/console/{page}", site.url));
        check(browser, page);
    }
    for page in ["devices", "batches", "refused", "firmware/2.0.0"] {
        browser.open(&format!("{}/console/{product}/{page}", site.url));
        check(browser, &format!("list-{}", page.replace('/', "-")));
    }
    let to = "?to=%2Fconsole%2Fproducts%2FTESTPROD01%2Fbatches%2F1";
    browser.open(&format!("{}/console/language/zh{to}", site.url));
    browser.wait_for("失败原因");
    check(browser, "batch-zh");
}

#[test]
#[ignore = "needs a browser: the gate runs it in a step of its own"]
fn without_scripts_every_page_is_read_and_every_form_is_sent() {
    let Some(driver) = driver() else { return };
    let site = Site::new();
    let browser = driver.browser(&site.desk.path("profile"), false);
    let link = first_link(&site);
    browser.open(&link);
    // The code is copied by hand.
    let code = link.split_once('#').unwrap().1;
    send(&browser, &[("code", code), ("name", "root"), ("password", PASSWORD)], SEND);
    send(&browser, &[("id", "TESTPROD01")], SEND);
    browser.click("nav.product a[href$='/devices']");
    send(&browser, &[("name", "dev001")], "section form[method=post] button[type=submit]");
    browser.wait_for("not shown again");
    let file = site.desk.write("image", image(3, 3_000));
    browser.click("nav.product a[href$='/firmware']");
    send(&browser, &[("version", "2.0.0"), ("file", &file)], "form.drop button[type=submit]");
    browser.wait_in("table", "3000 bytes");
    browser.click("nav.product a[href$='/batches']");
    browser.click("main p a.button");
    browser.click(NEXT);
    browser.wait_for("Wave 1");
    browser.click(NEXT);
    browser.click("button[value=start]");
    browser.wait_in(".numbers .rest", "1");
    browser.click("button.of-pause");
    browser.wait_in("button.of-resume", "Resume");
    browser.click("details.danger summary");
    browser.click("details.danger input[name=sure]");
    browser.click("details.danger button");
    browser.wait_for("cancelled");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// An agent that makes one update.
fn update(site: &Site, name: &str) -> Ota {
    let config = site.desk.path(&format!("{name}.toml"));
    agent(config.to_str().unwrap(), &["--once", "--wait", "90"])
}

/// A person's evening with a batch of three waves, of which the second fails.
#[test]
#[ignore = "needs a browser: the gate runs it in a step of its own"]
fn a_batch_of_three_waves_is_rehearsed_paused_stopped_by_its_rule_and_resumed() {
    let Some(driver) = driver() else { return };
    let site = Site::new();
    let browser = stocked(&site, &driver);
    let new = format!("{}/console/products/TESTPROD01/batches/new", site.url);
    browser.open(&new);
    browser.click(NEXT);
    browser.wait_for("Wave 1");
    for wave in ["Wave 2", "Wave 3"] {
        browser.click("button[value=add-wave]");
        browser.wait_for(wave);
    }
    // Two devices, three waves: what only the service knows is said, and nothing is lost.
    for (field, value) in [("w1-who", "the first"), ("w1-some", "1"), ("w2-who", "the first")] {
        browser.fill(&format!("[name={field}]"), value);
    }
    browser.fill("[name=w2-some]", "1");
    browser.click(NEXT);
    browser.wait_for("wave 3 has no device");
    browser.click("button[value=drop-wave-3]");
    browser.wait_for("Wave 2");
    browser.fill("[name=w2-fail]", "1");
    browser.click("[name=w1-person]");
    browser.click(NEXT);
    browser.wait_for("Devices that match now: 2");
    browser.wait_for("10 %");
    browser.click("button[value=start]");
    browser.wait_for("Batch 1");
    browser.run("window.same = true");

    // Paused, it offers nothing; resumed, it goes on. Each button is there when it fits.
    browser.click("button.of-pause");
    browser.wait_in("button.of-resume", "Resume");
    let first = update(&site, "dev001");
    browser.wait_in(".numbers .rest", "2");
    browser.click("button.of-resume");
    browser.wait_in("button.of-pause", "Pause");
    browser.run("window.same = true");
    browser.wait_in(".numbers .good", "1");
    first.end().expect(0);
    // The person opens the next wave from the page as it is: its button came with the wave's end.
    browser.wait_in("button.of-next", "next wave");
    assert_eq!(browser.run("return window.same"), true);
    browser.click("button.of-next");
    let second = update(&site, "dev002");
    browser.wait_in(".problem", "Its stop rule");
    browser.wait_in("[data-live]", "install failed");
    second.end().expect(4);
    // The chart has the device that failed.
    let chart = browser.run("return document.querySelector('.course .c-bad').getBBox()");
    assert!(
        chart["height"].as_f64() >= Some(100.0) && chart["width"].as_f64() > Some(0.0),
        "{chart}"
    );
    check(&browser, "batch-stopped");
    // The form that was refused above.
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|one| one.contains("status of 400")), "{complaints:?}");
    viewer(&site, &browser, &driver);
}

/// A viewer sees how it goes and no button that changes anything, and a form of theirs is refused.
fn viewer(site: &Site, admin: &Browser<'_>, driver: &Driver) {
    admin.open(&format!("{}/console/people", site.url));
    admin.fill("main section:last-of-type input[name=name]", "ann");
    admin.fill("main section:last-of-type select[name=role]", "viewer");
    admin.click("main section:last-of-type button[type=submit]");
    let link = admin.property(".secret", "value");
    let browser = driver.browser(&site.desk.path("viewer"), true);
    browser.open(link.as_str().unwrap());
    send(&browser, &[("password", PASSWORD)], SEND);
    browser.wait_for("TESTPROD01");
    let batch = "/console/products/TESTPROD01/batches/1";
    browser.open(&format!("{}{batch}", site.url));
    browser.wait_in("[data-live]", "install failed");
    let buttons = "return [...document.querySelectorAll('main button')].map((e) => e.textContent)";
    assert_eq!(browser.run(buttons), Value::Array(Vec::new()));
    for page in ["devices/dev001", "firmware", "batches", "firmware/2.0.0"] {
        browser.open(&format!("{}/console/products/TESTPROD01/{page}", site.url));
        browser.wait_for("TESTPROD01");
        let forms = "return document.querySelectorAll('main form[method=post]').length";
        assert_eq!(browser.run(forms), 0, "{page}");
    }
    let posted = format!(
        "const form = new FormData(document.querySelector('.account form')); form.set('do', 'resume'); \
         return fetch('{batch}', {{ method: 'POST', body: new URLSearchParams(form) }}).then((a) => a.status)"
    );
    assert_eq!(browser.run(&posted), 403);
    // The refusal of that form is what the browser complains of.
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|one| one.contains("403")), "{complaints:?}");
}

//! The paths of the console.

use ota_cloud::api::decode;

/// A path; names are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Home,
    Style(String),
    Script(String),
    Icon,
    SignIn,
    SignOut,
    First,
    Join,
    Language(String),
    Me,
    People,
    Keys,
    Audit,
    Settings,
    Products,
    Product(String),
    Devices(String),
    Device(String, String),
    FirmwareList(String),
    Firmware(String, String),
    Batches(String),
    NewBatch(String),
    Batch(String, String),
    Live(String, String),
    Results(String, String),
    Refused(String),
}

impl Route {
    pub(super) fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/console")?;
        let parts: Option<Vec<String>> = rest.split('/').skip(1).map(decode).collect();
        let parts = parts?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let own = |text: &str| text.to_owned();
        Some(match parts.as_slice() {
            [] | [""] => Self::Home,
            ["style", name] => Self::Style(own(name)),
            ["script", name] => Self::Script(own(name)),
            ["icon.svg"] => Self::Icon,
            ["sign-in"] => Self::SignIn,
            ["sign-out"] => Self::SignOut,
            ["first"] => Self::First,
            ["join"] => Self::Join,
            ["language", word] => Self::Language(own(word)),
            ["me"] => Self::Me,
            ["people"] => Self::People,
            ["keys"] => Self::Keys,
            ["audit"] => Self::Audit,
            ["settings"] => Self::Settings,
            ["products"] => Self::Products,
            ["products", product] => Self::Product(own(product)),
            ["products", product, "devices"] => Self::Devices(own(product)),
            ["products", product, "devices", name] => Self::Device(own(product), own(name)),
            ["products", product, "firmware"] => Self::FirmwareList(own(product)),
            ["products", product, "firmware", version] => {
                Self::Firmware(own(product), own(version))
            }
            ["products", product, "batches"] => Self::Batches(own(product)),
            ["products", product, "batches", "new"] => Self::NewBatch(own(product)),
            ["products", product, "batches", batch] => Self::Batch(own(product), own(batch)),
            ["products", product, "batches", batch, "live"] => Self::Live(own(product), own(batch)),
            ["products", product, "batches", batch, "results.csv"] => {
                Self::Results(own(product), own(batch))
            }
            ["products", product, "refused"] => Self::Refused(own(product)),
            _ => return None,
        })
    }

    /// Whether it needs no session.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self, Self::SignIn | Self::First | Self::Join | Self::Language(_))
    }

    /// The path for the log, which contains nothing that the caller chose.
    pub(super) const fn template(&self) -> &'static str {
        match self {
            Self::Home => "/console",
            Self::Style(_) => "/console/style/{name}",
            Self::Script(_) => "/console/script/{name}",
            Self::Icon => "/console/icon.svg",
            Self::SignIn => "/console/sign-in",
            Self::SignOut => "/console/sign-out",
            Self::First => "/console/first",
            Self::Join => "/console/join",
            Self::Language(_) => "/console/language/{word}",
            Self::Me => "/console/me",
            Self::People => "/console/people",
            Self::Keys => "/console/keys",
            Self::Audit => "/console/audit",
            Self::Settings => "/console/settings",
            Self::Products => "/console/products",
            Self::Product(_) => "/console/products/{product}",
            Self::Devices(_) => "/console/products/{product}/devices",
            Self::Device(..) => "/console/products/{product}/devices/{name}",
            Self::FirmwareList(_) => "/console/products/{product}/firmware",
            Self::Firmware(..) => "/console/products/{product}/firmware/{version}",
            Self::Batches(_) => "/console/products/{product}/batches",
            Self::NewBatch(_) => "/console/products/{product}/batches/new",
            Self::Batch(..) => "/console/products/{product}/batches/{batch}",
            Self::Live(..) => "/console/products/{product}/batches/{batch}/live",
            Self::Results(..) => "/console/products/{product}/batches/{batch}/results.csv",
            Self::Refused(_) => "/console/products/{product}/refused",
        }
    }
}

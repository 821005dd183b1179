//! Which devices join a batch after it began.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Batch;
use crate::campaign::{CampaignPlan, CampaignState, Who};
use crate::catalog::Catalog;
use crate::device::Device;

/// The devices that join a batch after it began: those that match all of it when they report a
/// version. It selected its first devices in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Joins {
    /// They run one of these versions of the batch's module; any if it is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from_versions: Vec<String>,
    /// Their names begin with this.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// They have this tag with this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<(String, String)>,
}

impl Joins {
    /// Whether it selects a device that runs a version.
    fn selects(&self, name: &str, tags: &BTreeMap<String, String>, runs: &str) -> bool {
        let has = |(tag, value): &(String, String)| tags.get(tag).is_some_and(|is| is == value);
        name.starts_with(&self.prefix)
            && self.tag.as_ref().is_none_or(has)
            && (self.from_versions.is_empty() || self.from_versions.iter().any(|of| of == runs))
    }
}

impl Batch {
    /// Whether devices may join it now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.joins.is_some() && !self.cancelled && !self.campaign.is_closed()
    }

    /// Whether a device that has none of its tasks should have one: it reported a version that the
    /// batch selects and that is not the target, is not disabled, has no open task, and may have
    /// the firmware now.
    ///
    /// A device joins once. What may change, such as a withdrawn firmware, therefore refuses it
    /// here and not in its row: it joins with a later report.
    #[must_use]
    pub fn takes(
        &self,
        device: &Device,
        tags: &BTreeMap<String, String>,
        disabled: bool,
        catalog: &Catalog,
    ) -> bool {
        let Some(joins) = self.joins.as_ref().filter(|_| self.is_open() && !disabled) else {
            return false;
        };
        let (product, module) = (self.product.as_str(), &self.options.module);
        let Some(known) = device.reported(module) else { return false };
        let runs = known.version.as_str();
        runs != self.version
            && !device.has_open_task()
            && joins.selects(device.identity.device_name(), tags, runs)
            && catalog.withdrawn(product, module, &self.version).is_none()
            && catalog.check_needs((product, module, &self.version), Some(runs)).is_ok()
    }

    /// How many of so many devices can join: a batch has [at most](Self::MOST) so many.
    #[must_use]
    pub fn room(&self, many: usize) -> usize {
        if self.is_open() { many.min(Self::MOST.saturating_sub(self.all)) } else { 0 }
    }

    /// Adds so many devices, for which there must be [room](Self::room): they are the last ones of
    /// its last wave.
    pub fn join(&mut self, many: usize) {
        self.all = self.all.saturating_add(many);
        self.campaign.grow(u64::try_from(many).unwrap_or(u64::MAX));
    }

    /// Why devices cannot join a batch with these waves.
    pub(super) fn check_joins(&self, plan: &CampaignPlan) -> Result<(), &'static str> {
        let ends_with_the_rest = plan.waves.last().is_none_or(|wave| wave.who == Who::Rest);
        if self.joins.is_some() && !ends_with_the_rest {
            return Err(
                "devices that join later are of the last wave: end with a wave of the rest",
            );
        }
        Ok(())
    }

    /// Whether it waits for devices that may join, and has nothing else to do.
    pub(super) fn waits_for_devices(&self) -> bool {
        self.is_open() && self.campaign.state() == CampaignState::Running
    }
}

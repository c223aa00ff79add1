//! What the host says of the phone. The engine never looks for itself; what was never said is unknown, which is a state of its own.

use serde::{Deserialize, Serialize};

use super::policy::Thermal;

/// The phone as it is at one moment. Everything is unknown until the host says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conditions {
    pub network: Network,
    /// When the phone last changed to another network: failures before that say little about this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_since_ms: Option<i64>,
    pub charging: Known,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery_percent: Option<u8>,
    pub low_power_mode: Known,
    /// Nobody uses the phone, as the operating system sees it.
    pub idle: Known,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thermal: Option<Thermal>,
    /// Free bytes where the engine's own folder is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    pub app_in_front: Known,
    pub locked: Known,
    /// Somebody pressed a button and waits.
    pub asked: bool,
    /// How much of the window is left; nothing where the operating system sets no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_left_ms: Option<u64>,
    /// The IANA name, such as `Europe/Berlin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    pub standing: Standing,
}

/// Yes, no, or nobody said so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Known {
    #[default]
    Unknown,
    No,
    Yes,
}

impl From<bool> for Known {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// What is connected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    #[default]
    Unknown,
    Offline,
    /// Connected, but nobody knows what it costs: taken for the dearest.
    Unclassified,
    Unmetered,
    Metered,
    Expensive,
    Constrained,
    Roaming,
}

impl Network {
    /// The class whose rule and allowance apply, if anything is connected.
    pub fn class(self) -> Option<NetworkClass> {
        match self {
            Self::Unknown | Self::Offline => None,
            Self::Unmetered => Some(NetworkClass::Unmetered),
            Self::Metered => Some(NetworkClass::Metered),
            Self::Expensive => Some(NetworkClass::Expensive),
            Self::Constrained => Some(NetworkClass::Constrained),
            Self::Roaming | Self::Unclassified => Some(NetworkClass::Roaming),
        }
    }
}

/// What a network costs, as the operating system says it: what bytes are counted by. Each is a class of its own, and none is part of what another allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkClass {
    Unmetered,
    Metered,
    /// As iOS says it: cellular, or a personal hotspot.
    Expensive,
    /// Whatever network, while the owner of the phone asks apps to save data: Low Data Mode, Data Saver.
    Constrained,
    Roaming,
}

impl NetworkClass {
    pub const ALL: [Self; 5] = [
        Self::Unmetered,
        Self::Metered,
        Self::Expensive,
        Self::Constrained,
        Self::Roaming,
    ];

    /// A lower-case word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unmetered => "unmetered",
            Self::Metered => "metered",
            Self::Expensive => "expensive",
            Self::Constrained => "constrained",
            Self::Roaming => "roaming",
        }
    }
}

impl From<NetworkClass> for Network {
    fn from(class: NetworkClass) -> Self {
        match class {
            NetworkClass::Unmetered => Self::Unmetered,
            NetworkClass::Metered => Self::Metered,
            NetworkClass::Expensive => Self::Expensive,
            NetworkClass::Constrained => Self::Constrained,
            NetworkClass::Roaming => Self::Roaming,
        }
    }
}

/// How the operating system treats the app. It decides when wake requests are honoured, not what is done in a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    #[default]
    Unknown,
    /// Android's buckets, the best first.
    Active,
    WorkingSet,
    Frequent,
    Rare,
    Restricted,
    /// iOS: background refresh is switched off. Android: the app was force-stopped or put to sleep, and no request will be honoured.
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_unknown() {
        let nothing: Conditions = serde_json::from_str("{}").unwrap();
        assert_eq!(nothing.network, Network::Unknown);
        assert_eq!((nothing.charging, nothing.thermal), (Known::Unknown, None));
        assert!(!nothing.asked);
    }

    #[test]
    fn a_network_of_unknown_price_is_taken_for_the_dearest() {
        assert_eq!(Network::Unclassified.class(), Some(NetworkClass::Roaming));
        assert_eq!(Network::Unknown.class(), None);
        for class in NetworkClass::ALL {
            assert_eq!(Network::from(class).class(), Some(class));
        }
    }
}

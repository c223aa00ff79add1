//! The policy, and what somebody says of the machine: read at the start, and again when they change.

use std::{fs, path::PathBuf};

use lifeboat::scheduler::{Conditions, Policy};
use serde_json::{Map, Value};

use crate::{
    exit::{Failure, Result},
    run::status,
};

pub(super) struct Files {
    policy_file: Option<PathBuf>,
    conditions_file: Option<PathBuf>,
    texts: Vec<Option<String>>,
    policy: Option<Policy>,
    /// The fields that the file names.
    said: Map<String, Value>,
}

impl Files {
    pub(super) fn read(policy_file: Option<PathBuf>, conditions_file: Option<PathBuf>) -> Result<Self> {
        let mut files = Self {
            policy_file,
            conditions_file,
            texts: Vec::new(),
            policy: None,
            said: Map::new(),
        };
        files.read_anew(true)?;
        Ok(files)
    }

    /// Whether anything has changed. What cannot be used leaves everything as it was, and is told once.
    pub(super) fn read_anew(&mut self, asked: bool) -> Result<bool> {
        let text = |file: &Option<PathBuf>| file.as_ref().and_then(|file| fs::read_to_string(file).ok());
        let texts = vec![text(&self.policy_file), text(&self.conditions_file)];
        if !asked && texts == self.texts {
            return Ok(false);
        }
        self.texts = texts;
        let policy = self.policy_file.as_deref().map(status::policy).transpose()?;
        let mut said = Map::new();
        if let Some(file) = &self.conditions_file {
            said = status::document_in(file)?;
            apply(&said, Conditions::default())
                .map_err(|error| Failure::here(format!("{}: {error}", file.display())))?;
        }
        (self.policy, self.said) = (policy, said);
        Ok(true)
    }

    pub(super) fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// What the file says goes before what the system says.
    pub(super) fn over(&self, seen: Conditions) -> Conditions {
        apply(&self.said, seen.clone()).unwrap_or(seen)
    }

    /// Where the files lie: they may be replaced as a whole.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let files = self.policy_file.iter().chain(&self.conditions_file);
        let folder = |file: &PathBuf| {
            let file = std::path::absolute(file).ok()?;
            Some(file.parent()?.to_owned())
        };
        files.filter_map(folder).collect()
    }
}

fn apply(said: &Map<String, Value>, seen: Conditions) -> serde_json::Result<Conditions> {
    let mut document = serde_json::to_value(seen)?;
    if let Some(fields) = document.as_object_mut() {
        fields.extend(said.clone());
    }
    serde_json::from_value(document)
}

#[cfg(test)]
mod tests {
    use lifeboat::scheduler::{Known, Network};

    use super::*;

    #[test]
    fn what_somebody_says_goes_before_what_was_seen_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (policy, conditions) = (dir.path().join("policy"), dir.path().join("conditions"));
        fs::write(&policy, r#"{"fresh_minutes": 5, "stale_minutes": 5}"#).unwrap();
        fs::write(&conditions, r#"{"network": "unmetered"}"#).unwrap();
        let mut files = Files::read(Some(policy.clone()), Some(conditions.clone())).unwrap();
        assert_eq!(files.policy().unwrap().fresh_minutes, 5);
        let seen = Conditions {
            network: Network::Unclassified,
            charging: Known::Yes,
            ..Conditions::default()
        };
        let told = files.over(seen.clone());
        assert_eq!((told.network, told.charging), (Network::Unmetered, Known::Yes));
        assert!(!files.read_anew(false).unwrap());
        // What makes no sense changes nothing, and is not told again and again.
        fs::write(&conditions, r#"{"networks": "unmetered"}"#).unwrap();
        assert!(files.read_anew(false).is_err());
        assert!(!files.read_anew(false).unwrap());
        assert_eq!(files.over(seen).network, Network::Unmetered);
        fs::write(&policy, r#"{"fresh_minutes": 7, "stale_minutes": 7}"#).unwrap();
        fs::write(&conditions, "{}").unwrap();
        assert!(files.read_anew(false).unwrap());
        assert_eq!(files.policy().unwrap().fresh_minutes, 7);
    }
}

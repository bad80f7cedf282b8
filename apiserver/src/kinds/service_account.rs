//! ServiceAccounts.

use super::field::Errors;
use super::{Rules, Target, metadata, names, unsupported};
use gantry_proto::core::v1::{ObjectReference, ServiceAccount};
use gantry_proto::meta::v1::StatusCause;

const ENFORCE_MOUNTABLE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";

pub struct ServiceAccounts;

impl Rules for ServiceAccounts {
    type Object = ServiceAccount;

    fn prepare_for_create(&self, account: &mut ServiceAccount) {
        metadata::clear_for_create(account.metadata_mut(), 0);
        keep_only_names(account);
    }

    fn prepare_for_update(&self, new: &mut ServiceAccount, old: &ServiceAccount, _target: Target) {
        metadata::keep_for_update(new.metadata_mut(), old.metadata());
        keep_only_names(new);
    }

    fn validate(&self, account: &ServiceAccount) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_strictly(account.metadata(), true, names::dns_subdomain, &mut errors);
        errors.into_causes()
    }

    fn validate_update(
        &self,
        new: &ServiceAccount,
        old: &ServiceAccount,
        _target: Target,
    ) -> Vec<StatusCause> {
        let mut errors = Errors::new();
        metadata::validate_update_strictly(new.metadata(), old.metadata(), &mut errors);
        metadata::validate_strictly(new.metadata(), true, names::dns_subdomain, &mut errors);
        errors.into_causes()
    }

    fn warnings(&self, new: &ServiceAccount, old: Option<&ServiceAccount>) -> Vec<String> {
        let has = |account: &ServiceAccount| {
            account
                .metadata()
                .annotations
                .contains_key(ENFORCE_MOUNTABLE_SECRETS)
        };
        let mut warnings = Vec::new();
        if has(new) && !old.is_some_and(has) {
            warnings.push(format!(
                "metadata.annotations[{ENFORCE_MOUNTABLE_SECRETS}]: deprecated in v1.32+; prefer separate namespaces \
                 to isolate access to mounted secrets"
            ));
        }
        let asks = |account: &ServiceAccount| {
            (
                account.automount_service_account_token,
                account.image_pull_secrets.clone(),
            )
        };
        if old.is_none_or(|old| asks(old) != asks(new)) {
            unsupported::service_account(new, &mut warnings);
        }
        warnings
    }
}

/// A secret is always one of the account's own namespace, so the rest of the reference says nothing.
fn keep_only_names(account: &mut ServiceAccount) {
    for secret in &mut account.secrets {
        *secret = ObjectReference {
            name: std::mem::take(&mut secret.name),
            ..ObjectReference::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_kept_by_name_alone() {
        let mut account: ServiceAccount = serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "b"},
            "secrets": [{"name": "s", "namespace": "other", "kind": "Secret"}],
        }))
        .expect("service account");
        ServiceAccounts.prepare_for_create(&mut account);
        assert_eq!(
            account.secrets,
            [ObjectReference {
                name: "s".into(),
                ..Default::default()
            }]
        );
        assert!(ServiceAccounts.validate(&account).is_empty());
    }
}

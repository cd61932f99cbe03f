//! The account itself: ReadAccounts, ReadQuotas.
#![expect(missing_docs, reason = "fields carry OAPI's names and meaning")]

use serde::{Deserialize, Serialize};

use super::request::{paged, request};

/// Reads the account that the keys belong to.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReadAccounts {}
request!(ReadAccounts => ReadAccountsAnswer, Always);

/// The accounts of the keys; one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReadAccountsAnswer {
    #[serde(default)]
    pub accounts: Vec<Account>,
}

/// An account. OAPI also tells names and addresses of people, which are dropped on purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Account {
    /// Twelve digits.
    pub account_id: String,
}

paged! {
    /// Lists quotas and how much of them is used.
    ReadQuotas, FiltersQuota => ReadQuotasAnswer { quota_types: QuotaTypes }
}

/// What ReadQuotas can look for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FiltersQuota {
    pub collections: Vec<String>,
    pub quota_names: Vec<String>,
    pub quota_types: Vec<String>,
    pub short_descriptions: Vec<String>,
}

/// Quotas of the account (`global`) or of one resource (its id).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct QuotaTypes {
    pub quota_type: Option<String>,
    #[serde(default)]
    pub quotas: Vec<Quota>,
}

/// One quota.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Quota {
    pub name: String,
    pub quota_collection: Option<String>,
    pub short_description: Option<String>,
    pub description: Option<String>,
    /// 0 means no limit.
    pub max_value: Option<i64>,
    pub used_value: Option<i64>,
}

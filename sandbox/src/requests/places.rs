//! What a client may send about the account and its places (Nets, Subregions, VM types,
//! quotas): every field of the official document, and no other.
//! The region gives the fields their meaning; `known` refuses what is not listed here.

use super::known::object;

object! {
    /// Filters of the call that reads `Net` objects.
    FiltersNet {
        dhcp_options_set_ids: Vec<String>,
        ip_ranges: Vec<String>,
        is_default: bool,
        net_ids: Vec<String>,
        states: Vec<String>,
        tag_keys: Vec<String>,
        tag_values: Vec<String>,
        tags: Vec<String>,
    }
}

object! {
    /// Parameters of `ReadNets`.
    ReadNetsRequest {
        dry_run: bool,
        filters: FiltersNet,
        next_page_token: String,
        results_per_page: i64,
    }
}

object! {
    /// Filters of the call that reads `Subnet` objects.
    FiltersSubnet {
        available_ips_counts: Vec<i64>,
        ip_ranges: Vec<String>,
        net_ids: Vec<String>,
        states: Vec<String>,
        subnet_ids: Vec<String>,
        subregion_names: Vec<String>,
        tag_keys: Vec<String>,
        tag_values: Vec<String>,
        tags: Vec<String>,
    }
}

object! {
    /// Parameters of `ReadSubnets`.
    ReadSubnetsRequest {
        dry_run: bool,
        filters: FiltersSubnet,
        next_page_token: String,
        results_per_page: i64,
    }
}

object! {
    /// Filters of the call that reads `Subregion` objects.
    FiltersSubregion {
        region_names: Vec<String>,
        states: Vec<String>,
        subregion_names: Vec<String>,
    }
}

object! {
    /// Parameters of `ReadSubregions`.
    ReadSubregionsRequest {
        dry_run: bool,
        filters: FiltersSubregion,
        next_page_token: String,
        results_per_page: i64,
    }
}

object! {
    /// Parameters of `ReadRegions`.
    ReadRegionsRequest {
        dry_run: bool,
    }
}

object! {
    /// Parameters of `ReadAccounts`.
    ReadAccountsRequest {
        dry_run: bool,
    }
}

object! {
    /// Filters of the call that reads `Quota` objects.
    FiltersQuota {
        collections: Vec<String>,
        quota_names: Vec<String>,
        quota_types: Vec<String>,
        short_descriptions: Vec<String>,
    }
}

object! {
    /// Parameters of `ReadQuotas`.
    ReadQuotasRequest {
        dry_run: bool,
        filters: FiltersQuota,
        next_page_token: String,
        results_per_page: i64,
    }
}

object! {
    /// Filters of the call that reads `VmType` objects.
    FiltersVmType {
        bsu_optimized: bool,
        ephemerals_types: Vec<String>,
        eths: Vec<i64>,
        gpus: Vec<i64>,
        memory_sizes: Vec<f64>,
        vcore_counts: Vec<i64>,
        vm_type_names: Vec<String>,
        volume_counts: Vec<i64>,
        volume_sizes: Vec<i64>,
    }
}

object! {
    /// Parameters of `ReadVmTypes`.
    ReadVmTypesRequest {
        dry_run: bool,
        filters: FiltersVmType,
        next_page_token: String,
        results_per_page: i64,
    }
}

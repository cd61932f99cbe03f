//! What a client may send about public IPs: every field of the official document, and no other.
//! The region gives the fields their meaning; `known` refuses what is not listed here.

use super::known::object;

object! {
    /// Parameters of `CreatePublicIp`.
    CreatePublicIpRequest {
        dry_run: bool,
    }
}

object! {
    /// Filters of the call that reads `PublicIp` objects.
    FiltersPublicIp {
        link_public_ip_ids: Vec<String>,
        nic_account_ids: Vec<String>,
        nic_ids: Vec<String>,
        placements: Vec<String>,
        private_ips: Vec<String>,
        public_ip_ids: Vec<String>,
        public_ips: Vec<String>,
        tag_keys: Vec<String>,
        tag_values: Vec<String>,
        tags: Vec<String>,
        vm_ids: Vec<String>,
    }
}

object! {
    /// Parameters of `ReadPublicIps`.
    ReadPublicIpsRequest {
        dry_run: bool,
        filters: FiltersPublicIp,
        next_page_token: String,
        results_per_page: i64,
    }
}

object! {
    /// Parameters of `LinkPublicIp`.
    LinkPublicIpRequest {
        allow_relink: bool,
        dry_run: bool,
        nic_id: String,
        private_ip: String,
        public_ip: String,
        public_ip_id: String,
        vm_id: String,
    }
}

object! {
    /// Parameters of `UnlinkPublicIp`.
    UnlinkPublicIpRequest {
        dry_run: bool,
        link_public_ip_id: String,
        public_ip: String,
    }
}

object! {
    /// Parameters of `DeletePublicIp`.
    DeletePublicIpRequest {
        dry_run: bool,
        public_ip: String,
        public_ip_id: String,
    }
}

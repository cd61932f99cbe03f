//! What a client may send about security groups: every field of the official document, and no other.
//! The region gives the fields their meaning; `known` refuses what is not listed here.

use super::known::object;

object! {
    /// Parameters of `CreateSecurityGroup`.
    CreateSecurityGroupRequest {
        [description: String],
        dry_run: bool,
        net_id: String,
        [security_group_name: String],
    }
}

object! {
    /// Filters of the call that reads `SecurityGroup` objects.
    FiltersSecurityGroup {
        descriptions: Vec<String>,
        inbound_rule_account_ids: Vec<String>,
        inbound_rule_from_port_ranges: Vec<i64>,
        inbound_rule_ip_ranges: Vec<String>,
        inbound_rule_protocols: Vec<String>,
        inbound_rule_security_group_ids: Vec<String>,
        inbound_rule_security_group_names: Vec<String>,
        inbound_rule_to_port_ranges: Vec<i64>,
        net_ids: Vec<String>,
        outbound_rule_account_ids: Vec<String>,
        outbound_rule_from_port_ranges: Vec<i64>,
        outbound_rule_ip_ranges: Vec<String>,
        outbound_rule_protocols: Vec<String>,
        outbound_rule_security_group_ids: Vec<String>,
        outbound_rule_security_group_names: Vec<String>,
        outbound_rule_to_port_ranges: Vec<i64>,
        security_group_ids: Vec<String>,
        security_group_names: Vec<String>,
        tag_keys: Vec<String>,
        tag_values: Vec<String>,
        tags: Vec<String>,
    }
}

object! {
    /// Parameters of `ReadSecurityGroups`.
    ReadSecurityGroupsRequest {
        dry_run: bool,
        filters: FiltersSecurityGroup,
        next_page_token: String,
        results_per_page: i64,
    }
}

object! {
    /// Parameters of `DeleteSecurityGroup`.
    DeleteSecurityGroupRequest {
        dry_run: bool,
        security_group_id: String,
        security_group_name: String,
    }
}

object! {
    /// `SecurityGroupsMember`, as part of a request.
    SecurityGroupsMember {
        account_id: String,
        security_group_id: String,
        security_group_name: String,
    }
}

object! {
    /// `SecurityGroupRule`, as part of a request.
    SecurityGroupRule {
        from_port_range: i64,
        ip_protocol: String,
        ip_ranges: Vec<String>,
        security_group_rule_id: String,
        security_groups_members: Vec<SecurityGroupsMember>,
        service_ids: Vec<String>,
        to_port_range: i64,
    }
}

object! {
    /// Parameters of `CreateSecurityGroupRule`.
    CreateSecurityGroupRuleRequest {
        dry_run: bool,
        [flow: String],
        from_port_range: i64,
        ip_protocol: String,
        ip_range: String,
        rules: Vec<SecurityGroupRule>,
        security_group_account_id_to_link: String,
        [security_group_id: String],
        security_group_name_to_link: String,
        to_port_range: i64,
    }
}

object! {
    /// Parameters of `DeleteSecurityGroupRule`.
    DeleteSecurityGroupRuleRequest {
        dry_run: bool,
        [flow: String],
        from_port_range: i64,
        ip_protocol: String,
        ip_range: String,
        rules: Vec<SecurityGroupRule>,
        security_group_account_id_to_unlink: String,
        [security_group_id: String],
        security_group_name_to_unlink: String,
        to_port_range: i64,
    }
}

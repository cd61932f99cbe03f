//! Security groups and their rules, and what the rules let into the VMs.

use std::{sync::Arc, time::Instant};

use serde_json::{Value, json};

use super::{
    ACCOUNT_ID, Call, Causes, Meta, Region, Reply, State, members, new_id,
    view::{
        Compare::{Exact, Wildcard},
        Filter, Page, TAG_FILTERS, View, read,
    },
    vms::Vm,
    words::VmState,
};
use crate::{
    backend::InboundRule,
    error::ApiError,
    requests::security_groups::{
        CreateSecurityGroupRequest, CreateSecurityGroupRuleRequest, DeleteSecurityGroupRequest,
        DeleteSecurityGroupRuleRequest, ReadSecurityGroupsRequest, SecurityGroupRule as RequestedRule,
    },
};

/// A security group.
#[derive(Debug, Clone)]
pub struct SecurityGroup {
    pub meta: Meta,
    pub id: String,
    pub name: String,
    pub description: String,
    /// Absent in the public cloud.
    pub net_id: Option<String>,
    pub inbound: Vec<Rule>,
    pub outbound: Vec<Rule>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub id: String,
    /// `tcp`, `udp`, `icmp`, `-1` or a number.
    pub protocol: String,
    pub ports: (i64, i64),
    pub ranges: Vec<String>,
    /// Ids of groups whose VMs are meant.
    pub members: Vec<String>,
}

#[rustfmt::skip]
const FILTERS: [Filter; 21] = [
    ("Descriptions", "Description", Wildcard),
    ("InboundRuleAccountIds", "InboundRules[].SecurityGroupsMembers[].AccountId", Exact),
    ("InboundRuleFromPortRanges", "InboundRules[].FromPortRange", Exact),
    ("InboundRuleIpRanges", "InboundRules[].IpRanges[]", Exact),
    ("InboundRuleProtocols", "InboundRules[].IpProtocol", Exact),
    ("InboundRuleSecurityGroupIds", "InboundRules[].SecurityGroupsMembers[].SecurityGroupId", Exact),
    ("InboundRuleSecurityGroupNames", "InboundRules[].SecurityGroupsMembers[].SecurityGroupName", Wildcard),
    ("InboundRuleToPortRanges", "InboundRules[].ToPortRange", Exact),
    ("NetIds", "NetId", Exact),
    ("OutboundRuleAccountIds", "OutboundRules[].SecurityGroupsMembers[].AccountId", Exact),
    ("OutboundRuleFromPortRanges", "OutboundRules[].FromPortRange", Exact),
    ("OutboundRuleIpRanges", "OutboundRules[].IpRanges[]", Exact),
    ("OutboundRuleProtocols", "OutboundRules[].IpProtocol", Exact),
    ("OutboundRuleSecurityGroupIds", "OutboundRules[].SecurityGroupsMembers[].SecurityGroupId", Exact),
    ("OutboundRuleSecurityGroupNames", "OutboundRules[].SecurityGroupsMembers[].SecurityGroupName", Wildcard),
    ("OutboundRuleToPortRanges", "OutboundRules[].ToPortRange", Exact),
    ("SecurityGroupIds", "SecurityGroupId", Exact),
    ("SecurityGroupNames", "SecurityGroupName", Wildcard),
    TAG_FILTERS[0],
    TAG_FILTERS[1],
    TAG_FILTERS[2],
];

/// The parts that the requests to add and to remove rules have in common.
struct RuleRequest {
    group_id: String,
    flow: String,
    ports: (Option<i64>, Option<i64>),
    protocol: Option<String>,
    range: Option<String>,
    rules: Option<Vec<RequestedRule>>,
    other_group: Option<String>,
}

impl Region {
    pub async fn create_security_group(
        self: &Arc<Self>,
        request: CreateSecurityGroupRequest,
        call: &Call,
    ) -> Reply {
        check_text("SecurityGroupName", &request.security_group_name, false)?;
        check_text("Description", &request.description, true)?;
        if request.security_group_name.starts_with("sg-") {
            return Err(ApiError::new(4043, "The SecurityGroupName must not start with 'sg-'."));
        }
        let mut state = self.state();
        if let Some(net_id) = &request.net_id
            && !state.nets.contains_key(net_id)
        {
            return Err(ApiError::missing(5065, "NetId", net_id));
        }
        let is_same = |group: &&SecurityGroup| {
            group.name == request.security_group_name && group.net_id == request.net_id
        };
        if state.security_groups.values().find(is_same).is_some() {
            return Err(ApiError::new(
                self.quirks().duplicate_security_group_code,
                format!("The SecurityGroupName '{}' already exists.", request.security_group_name),
            ));
        }
        state.room("security_groups", 10038, 1)?;
        let meta = self.meta(&mut state, call);
        let group =
            SecurityGroup::new(meta, request.security_group_name, request.description, request.net_id);
        let answer = view(&state, &group).into_answer();
        state.security_groups.insert(group.id.clone(), group);
        Ok(json!({ "SecurityGroup": answer }))
    }

    pub async fn read_security_groups(
        self: &Arc<Self>,
        request: ReadSecurityGroupsRequest,
        _call: &Call,
    ) -> Reply {
        let state = self.state();
        let visible = state.security_groups.values().filter(|group| group.meta.is_visible());
        let views = visible.map(|group| view(&state, group)).collect();
        let page = Page { size: request.results_per_page, token: request.next_page_token.as_deref() };
        read("SecurityGroups", views, &FILTERS, request.filters.as_ref(), page)
    }

    pub async fn delete_security_group(
        self: &Arc<Self>,
        request: DeleteSecurityGroupRequest,
        _call: &Call,
    ) -> Reply {
        let mut state = self.state();
        let id = match (&request.security_group_id, &request.security_group_name) {
            (Some(id), _) => state.group(id)?.id.clone(),
            (None, Some(name)) => state.group_named(name, None)?.id.clone(),
            (None, None) => {
                return Err(ApiError::new(7000, "Either SecurityGroupId or SecurityGroupName is required."));
            }
        };
        if state.group(&id)?.name == "default" {
            return Err(ApiError::new(9051, format!("The security group '{id}' is a default group.")));
        }
        if state.is_group_in_use(&id) {
            // Without details, as the cloud answers.
            return Err(ApiError::new(9085, ""));
        }
        state.security_groups.remove(&id);
        Ok(json!({}))
    }

    pub async fn create_security_group_rule(
        self: &Arc<Self>,
        request: CreateSecurityGroupRuleRequest,
        _call: &Call,
    ) -> Reply {
        let duplicate_code = self.quirks().duplicate_rule_code;
        self.change_rules(
            RuleRequest {
                group_id: request.security_group_id,
                flow: request.flow,
                ports: (request.from_port_range, request.to_port_range),
                protocol: request.ip_protocol,
                range: request.ip_range,
                rules: request.rules,
                other_group: request.security_group_name_to_link,
            },
            |rules, rule| {
                if rules.iter().any(|known| known.is_same(&rule)) {
                    return Err(ApiError::new(duplicate_code, "The security group already has this rule."));
                }
                // The cloud keeps ranges of the same ports in one rule.
                let same_ports = rules.iter_mut().find(|known| {
                    known.protocol == rule.protocol
                        && known.ports == rule.ports
                        && known.members.is_empty()
                        && rule.members.is_empty()
                });
                match same_ports {
                    Some(known) => {
                        for range in rule.ranges {
                            if known.ranges.contains(&range) {
                                return Err(ApiError::new(
                                    duplicate_code,
                                    "The security group already has this rule.",
                                ));
                            }
                            known.ranges.push(range);
                        }
                    }
                    None => rules.push(rule),
                }
                Ok(())
            },
        )
        .await
    }

    pub async fn delete_security_group_rule(
        self: &Arc<Self>,
        request: DeleteSecurityGroupRuleRequest,
        _call: &Call,
    ) -> Reply {
        self.change_rules(
            RuleRequest {
                group_id: request.security_group_id,
                flow: request.flow,
                ports: (request.from_port_range, request.to_port_range),
                protocol: request.ip_protocol,
                range: request.ip_range,
                rules: request.rules,
                other_group: request.security_group_name_to_unlink,
            },
            |rules, rule| {
                let missing = || ApiError::new(5044, "The security group has no such rule.");
                let at = rules
                    .iter()
                    .position(|known| {
                        known.protocol == rule.protocol
                            && known.ports == rule.ports
                            && rule.ranges.iter().all(|range| known.ranges.contains(range))
                            && rule.members.iter().all(|member| known.members.contains(member))
                    })
                    .ok_or_else(missing)?;
                rules[at].ranges.retain(|range| !rule.ranges.contains(range));
                rules[at].members.retain(|member| !rule.members.contains(member));
                if rules[at].ranges.is_empty() && rules[at].members.is_empty() {
                    rules.remove(at);
                }
                Ok(())
            },
        )
        .await
    }

    /// Changes a copy of the rules with each rule of the request, so that a wrong one changes nothing.
    async fn change_rules(
        &self,
        request: RuleRequest,
        change: impl Fn(&mut Vec<Rule>, Rule) -> Result<(), ApiError>,
    ) -> Reply {
        let group_id = request.group_id.clone();
        let answer = {
            let mut state = self.state();
            let group = state.group(&group_id)?.clone();
            let is_inbound = match request.flow.as_str() {
                "Inbound" => true,
                "Outbound" if group.net_id.is_some() => false,
                "Outbound" => {
                    return Err(ApiError::new(4047, "Outbound rules exist in Nets only."));
                }
                other => return Err(ApiError::new(4047, format!("The Flow '{other}' is not valid."))),
            };
            let rules = requested_rules(&state, &request)?;
            let mut changed = if is_inbound { group.inbound } else { group.outbound };
            for rule in rules {
                change(&mut changed, rule)?;
            }
            if changed.len() > 50 {
                return Err(ApiError::new(
                    10017,
                    "A security group can have at most 50 rules per direction.",
                ));
            }
            if let Some(group) = state.security_groups.get_mut(&group_id) {
                if is_inbound {
                    group.inbound = changed;
                } else {
                    group.outbound = changed;
                }
            }
            json!({ "SecurityGroup": view(&state, state.group(&group_id)?).into_answer() })
        };
        self.refresh_inbound(|vm| vm.all_groups().any(|group| *group == group_id)).await;
        Ok(answer)
    }

    /// A VM has come up with addresses of its own: others let it in if a rule of theirs names one of its groups.
    pub async fn refresh_neighbours(&self, vm_id: &str) {
        let letting: Vec<String> = {
            let state = self.state();
            let Some(vm) = state.vms.get(vm_id) else { return };
            let names_it = |group: &&SecurityGroup| {
                let mut members = group.inbound.iter().flat_map(|rule| &rule.members);
                members.any(|member| vm.all_groups().any(|own| own == member))
            };
            state.security_groups.values().filter(names_it).map(|group| group.id.clone()).collect()
        };
        if !letting.is_empty() {
            self.refresh_inbound(|vm| vm.all_groups().any(|group| letting.contains(group))).await;
        }
    }

    /// Tells the backend what may come into the running VMs that a change concerns.
    pub async fn refresh_inbound(&self, concerns: impl Fn(&Vm) -> bool) {
        let changes: Vec<(String, Vec<InboundRule>)> = {
            let state = self.state();
            let running = state.vms.values().filter(|vm| vm.state == VmState::Running && concerns(vm));
            running.map(|vm| (vm.id.clone(), state.inbound_of(vm))).collect()
        };
        for (vm_id, rules) in changes {
            if let Err(error) = self.backend.set_inbound(&vm_id, rules).await {
                tracing::error!(vm.id = %vm_id, error = %Causes(&error), "could not change what may come in");
            }
        }
    }
}

impl SecurityGroup {
    /// A group as it is born: nothing comes in; in a Net everything goes out.
    pub fn new(meta: Meta, name: String, description: String, net_id: Option<String>) -> Self {
        let everything = Rule {
            id: new_id("sgr"),
            protocol: "-1".to_owned(),
            ports: (-1, -1),
            ranges: vec!["0.0.0.0/0".to_owned()],
            members: Vec::new(),
        };
        let outbound = if net_id.is_some() { vec![everything] } else { Vec::new() };
        Self { meta, id: new_id("sg"), name, description, net_id, inbound: Vec::new(), outbound }
    }
}

impl Rule {
    fn is_same(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.ports == other.ports
            && self.ranges == other.ranges
            && self.members == other.members
    }

    fn json(&self, state: &State, in_public_cloud: bool) -> Value {
        let mut rule = json!({
            "FromPortRange": self.ports.0,
            "IpProtocol": self.protocol,
            "SecurityGroupRuleId": self.id,
            "ToPortRange": self.ports.1,
        });
        if !self.ranges.is_empty() {
            rule["IpRanges"] = json!(self.ranges);
        }
        if !self.members.is_empty() {
            let members = self.members.iter().map(|id| {
                let mut member = json!({ "AccountId": ACCOUNT_ID, "SecurityGroupId": id });
                if in_public_cloud && let Some(group) = state.security_groups.get(id) {
                    member["SecurityGroupName"] = json!(group.name);
                }
                member
            });
            rule["SecurityGroupsMembers"] = members.collect();
        }
        rule
    }
}

impl State {
    /// A group that calls can find.
    pub fn group(&self, id: &str) -> Result<&SecurityGroup, ApiError> {
        // Without details, as the cloud answers.
        self.security_groups
            .get(id)
            .filter(|group| group.meta.is_visible())
            .ok_or_else(|| ApiError::new(5020, ""))
    }

    /// The group of an id, if it belongs where the VM is.
    pub fn group_for(&self, id: &str, net_id: Option<&String>) -> Result<&SecurityGroup, ApiError> {
        let group = self.group(id)?;
        if group.net_id.as_ref() == net_id {
            return Ok(group);
        }
        Err(ApiError::new(4086, format!("The security group '{id}' and the VM are not in the same network.")))
    }

    /// The group of a name in a Net or in the public cloud.
    pub fn group_named(&self, name: &str, net_id: Option<&String>) -> Result<&SecurityGroup, ApiError> {
        let found = self
            .security_groups
            .values()
            .find(|group| group.name == name && group.net_id.as_ref() == net_id && group.meta.is_visible());
        found.ok_or_else(|| ApiError::new(5020, ""))
    }

    /// Whether a VM has the group, or had it a moment ago, or another group's rule names it.
    fn is_group_in_use(&self, id: &str) -> bool {
        let now = Instant::now();
        let by_vm = self
            .vms
            .values()
            .filter(|vm| vm.state != VmState::Terminated)
            .any(|vm| vm.all_groups().any(|group| group == id));
        let lingers = self.lingering_groups.iter().any(|(group, until)| group == id && *until > now);
        let named = self.security_groups.values().filter(|group| group.id != id).any(|group| {
            let mut rules = group.inbound.iter().chain(&group.outbound);
            rules.any(|rule| rule.members.iter().any(|member| member == id))
        });
        by_vm || lingers || named
    }

    /// What the groups of a VM let in by TCP: nothing else reaches a VM here.
    pub fn inbound_of(&self, vm: &Vm) -> Vec<InboundRule> {
        let mut groups: Vec<&String> = vm.all_groups().collect();
        groups.sort();
        groups.dedup();
        let rules =
            groups.into_iter().filter_map(|id| self.security_groups.get(id)).flat_map(|group| &group.inbound);
        let mut inbound = Vec::new();
        for rule in rules {
            let ports = match rule.protocol.as_str() {
                "-1" => (0, u16::MAX),
                "tcp" | "6" => match rule.ports {
                    (-1, _) => (0, u16::MAX),
                    (from, to) => (port(from), port(to)),
                },
                _ => continue,
            };
            let mut sources = rule.ranges.clone();
            let others = self
                .vms
                .values()
                .filter(|other| other.all_groups().any(|group| rule.members.contains(group)));
            sources.extend(
                others.flat_map(|other| self.addresses_of(other)).map(|address| format!("{address}/32")),
            );
            inbound.push(InboundRule { ports, sources });
        }
        inbound
    }
}

fn port(number: i64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// The rules that a request describes, in either of its forms.
fn requested_rules(state: &State, request: &RuleRequest) -> Result<Vec<Rule>, ApiError> {
    if let Some(rules) = request.rules.as_ref().filter(|rules| !rules.is_empty()) {
        if request.range.is_some() || request.protocol.is_some() || request.other_group.is_some() {
            return Err(ApiError::new(4046, "Rules excludes the parameters of a single rule."));
        }
        return rules.iter().map(|rule| requested_rule(state, rule)).collect();
    }
    let mut rule = RequestedRule {
        from_port_range: request.ports.0,
        to_port_range: request.ports.1,
        ip_protocol: request.protocol.clone(),
        ip_ranges: request.range.clone().map(|range| vec![range]),
        ..RequestedRule::default()
    };
    if let Some(id) = &request.other_group {
        // A group alone means everything from its VMs.
        let group = state.group(id)?;
        rule.ip_protocol = rule.ip_protocol.or_else(|| Some("-1".to_owned()));
        rule.security_groups_members = Some(vec![crate::requests::security_groups::SecurityGroupsMember {
            security_group_id: Some(group.id.clone()),
            ..Default::default()
        }]);
    }
    Ok(vec![requested_rule(state, &rule)?])
}

fn requested_rule(state: &State, rule: &RequestedRule) -> Result<Rule, ApiError> {
    let protocol = rule
        .ip_protocol
        .clone()
        .ok_or_else(|| ApiError::new(7000, "The parameter 'IpProtocol' is required."))?
        .to_lowercase();
    let is_number = protocol.parse::<u8>().is_ok();
    if !["tcp", "udp", "icmp", "-1"].contains(&protocol.as_str()) && !is_number {
        return Err(ApiError::new(4053, format!("The IpProtocol '{protocol}' is not valid.")));
    }
    let ports = match (protocol.as_str(), rule.from_port_range, rule.to_port_range) {
        ("tcp" | "udp", Some(from), Some(to)) => {
            if !(0..=65_535).contains(&from) || !(0..=65_535).contains(&to) || from > to {
                return Err(ApiError::new(4051, format!("The ports {from} to {to} are not valid.")));
            }
            (from, to)
        }
        ("tcp" | "udp", ..) => {
            return Err(ApiError::new(7000, "FromPortRange and ToPortRange are required for tcp and udp."));
        }
        (_, from, to) => (from.unwrap_or(-1), to.unwrap_or(-1)),
    };
    let ranges = rule.ip_ranges.clone().unwrap_or_default();
    for range in &ranges {
        check_range(range)?;
    }
    let mut members = Vec::new();
    for member in rule.security_groups_members.iter().flatten() {
        let group = match (&member.security_group_id, &member.security_group_name) {
            (Some(id), _) => state.group(id)?,
            (None, Some(name)) => state.group_named(name, None)?,
            (None, None) => return Err(ApiError::new(7000, "A member of a rule needs a SecurityGroupId.")),
        };
        members.push(group.id.clone());
    }
    if ranges.is_empty() && members.is_empty() {
        return Err(ApiError::new(7000, "A rule needs an IpRange or a security group."));
    }
    Ok(Rule { id: new_id("sgr"), protocol, ports, ranges, members })
}

fn check_range(range: &str) -> Result<(), ApiError> {
    let is_good = range.split_once('/').is_some_and(|(address, prefix)| {
        match (address.parse::<std::net::IpAddr>(), prefix.parse::<u8>()) {
            (Ok(address), Ok(prefix)) => prefix <= if address.is_ipv4() { 32 } else { 128 },
            _ => false,
        }
    });
    if is_good { Ok(()) } else { Err(ApiError::new(4056, format!("The IpRange '{range}' is not valid."))) }
}

fn check_text(field: &str, text: &str, accents: bool) -> Result<(), ApiError> {
    let is_good = |letter: char| {
        letter.is_ascii_alphanumeric()
            || " _.-:/()#,@[]+=&;{}!$*".contains(letter)
            || (accents && letter.is_alphabetic())
    };
    if text.is_empty() || text.chars().count() > 255 || !text.chars().all(is_good) {
        let code = if field == "SecurityGroupName" { 4043 } else { 4047 };
        return Err(ApiError::new(
            code,
            format!("The {field} is empty, too long or has letters that are not allowed."),
        ));
    }
    Ok(())
}

fn view(state: &State, group: &SecurityGroup) -> View {
    let rules = |rules: &[Rule]| -> Value {
        rules.iter().map(|rule| rule.json(state, group.net_id.is_none())).collect()
    };
    let mut object = members(json!({
        "AccountId": ACCOUNT_ID,
        "Description": group.description,
        "InboundRules": rules(&group.inbound),
        "OutboundRules": rules(&group.outbound),
        "SecurityGroupId": group.id,
        "SecurityGroupName": group.name,
        "Tags": group.meta.tags_json(),
    }));
    if let Some(net_id) = &group.net_id {
        object.insert("NetId".to_owned(), json!(net_id));
    }
    group.meta.hidden(&mut object);
    View { sequence: group.meta.sequence, object }
}

/// The filters of ReadSecurityGroups, for the test that holds them to the request.
#[cfg(test)]
pub fn filters() -> (&'static str, Vec<Filter>) {
    ("ReadSecurityGroups", FILTERS.to_vec())
}

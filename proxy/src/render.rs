//! Rules and changes as text for `nft -f -`. One text is one transaction: all of it happens, or none.

use crate::ledger::Changes;
use crate::ruleset::{Item, Node, Rule, Ruleset, Value, map_of};
use crate::service::{Policy, Protocol};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The packet mark that asks for masquerading: the bit that kube-proxy uses, so that whoever keeps clear of
/// Kubernetes' bits keeps clear of ours.
const MASQUERADE_MARK: u32 = 0x4000;

/// Replaces our table, whatever it holds, by one with these rules.
pub fn load(ruleset: &Ruleset) -> String {
    let table = &ruleset.node.table;
    let mut text = format!("add table ip {table}\ndelete table ip {table}\n");
    text.push_str(&frame(&ruleset.node));
    let everything = Changes::between(&BTreeMap::new(), &ruleset.items);
    text.push_str(&transaction(&ruleset.node, &everything));
    text
}

/// Removes our table, if it is there.
pub fn unload(table: &str) -> String {
    format!("add table ip {table}\ndelete table ip {table}\n")
}

/// Changes nothing, and is refused when our table is not there.
pub fn touch(table: &str) -> String {
    format!("flush chain ip {table} touched\n")
}

/// Carries out changes to a table that holds the rules they start from.
///
/// Elements go before the chains that they point to, and come after them; a changed element goes and comes.
pub fn transaction(node: &Node, changes: &Changes) -> String {
    let mut gone = Elements::default();
    let mut come = Elements::default();
    let [mut maps, mut chains, mut old_chains, mut old_maps] = [const { String::new() }; 4];
    let table = &node.table;
    for (item, change) in &changes.by_item {
        match (item, &change.old, &change.new) {
            (Item::Chain(name), old, Some(Value::Rule(rule))) => {
                let verb = if old.is_none() { "add" } else { "flush" };
                let _ = writeln!(chains, "{verb} chain ip {table} {name}");
                let _ = writeln!(chains, "add rule ip {table} {name} {}", text_of_rule(rule));
            }
            (Item::Chain(name), ..) => {
                let _ = writeln!(
                    old_chains,
                    "flush chain ip {table} {name}\ndelete chain ip {table} {name}"
                );
            }
            (Item::EndpointMap(protocol, number), None, _) => {
                let name = Set::Endpoints(*protocol, *number).name();
                // nft (1.0.6) binds the type of a port to one protocol.
                let content = format!("typeof numgen inc mod 2 : ip daddr . {protocol} dport;");
                let _ = writeln!(maps, "add map ip {table} {name} {{ {content} }}");
            }
            (Item::EndpointMap(protocol, number), Some(_), _) => {
                let name = Set::Endpoints(*protocol, *number).name();
                let _ = writeln!(old_maps, "delete map ip {table} {name}");
            }
            _ => {}
        }
        let Some((set, key)) = key(node, item) else {
            continue;
        };
        if change.old.is_some() {
            gone.add(set, &key);
        }
        if let Some(new) = &change.new {
            come.add(set, &format!("{key}{}", data(new)));
        }
    }
    let gone = gone.commands("delete", table);
    let come = come.commands("add", table);
    [gone, maps, chains, come, old_chains, old_maps].concat()
}

/// The chains, maps and sets that are always there.
///
/// Connection tracking leaves the addresses of a packet that it finds invalid, such as one outside of the window,
/// untranslated. A client that got such a reply, or a reset in reply to such a packet, would break off a connection
/// that is well; so they are dropped, as kube-proxy's iptables mode does (kubernetes/kubernetes#74839).
fn frame(node: &Node) -> String {
    let Node {
        table,
        cluster_cidr,
        bridge_is_filtered,
    } = node;
    let mark = format!("{MASQUERADE_MARK:#x}");
    let unmark = format!("meta mark set meta mark & {:#x}", !MASQUERADE_MARK);
    let mark_outsiders = cluster_cidr
        .map(|cidr| format!("ip saddr != {cidr} meta mark set meta mark | {mark}\n    "))
        .unwrap_or_default();
    let (local_type, local_rule) = match (bridge_is_filtered, cluster_cidr) {
        (true, _) => (
            "ipv4_addr . ipv4_addr",
            "ip saddr . ip daddr @local_endpoints".to_owned(),
        ),
        (false, Some(cidr)) => ("ipv4_addr", format!("ip saddr {cidr} ip daddr @local_endpoints")),
        (false, None) => ("ipv4_addr", "ip daddr @local_endpoints".to_owned()),
    };
    format!(
        "\
table ip {table} {{
  comment \"Gantry: Services on this node\"
  map services {{
    type ipv4_addr . inet_proto . inet_service : verdict
    comment \"Service address and port : where its rule is\"
  }}
  map node_ports {{
    type inet_proto . inet_service : verdict
    comment \"node port : where its Service's rule is\"
  }}
  set cluster_ips {{
    type ipv4_addr
    comment \"what no Service port has taken is refused\"
  }}
  set local_endpoints {{
    type {local_type}
    comment \"may be reached from this node's pods through a Service\"
  }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    jump find_service
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    jump find_service
  }}
  chain find_service {{
    {mark_outsiders}ip daddr . meta l4proto . th dport vmap @services
    meta mark set meta mark | {mark}
    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @node_ports
    {unmark}
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    meta mark & {mark} == {mark} {unmark} masquerade fully-random
    ct status dnat {local_rule} masquerade fully-random
  }}
  chain refuse_forwarded {{
    type filter hook forward priority 0; policy accept;
    ct state invalid drop
    ct state new ip daddr @cluster_ips goto refuse
  }}
  chain refuse_own {{
    type filter hook output priority 0; policy accept;
    ct state new ip daddr @cluster_ips goto refuse
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject with icmp port-unreachable
  }}
  chain touched {{
    comment \"always empty: flushing it tells whether the table is there\"
  }}
}}
"
    )
}

fn text_of_rule(rule: &Rule) -> String {
    let Rule {
        protocol,
        policy,
        count,
        first_place,
    } = rule;
    let map = Set::Endpoints(*protocol, map_of(*first_place)).name();
    let place = match policy {
        Policy::RoundRobin => format!("numgen inc mod {count}"),
        Policy::Random => format!("numgen random mod {count}"),
        // A fixed seed, so that the same client finds the same endpoint through every node.
        Policy::ClientAddress => format!("jhash ip saddr mod {count} seed 0x1"),
    };
    format!("meta l4proto {protocol} dnat ip to {place} offset {first_place} map @{map}")
}

/// The set or map that an item is an element of, and its key there.
fn key(node: &Node, item: &Item) -> Option<(Set, String)> {
    Some(match item {
        Item::Chain(_) | Item::EndpointMap(..) => return None,
        Item::Endpoint(protocol, place) => (Set::Endpoints(*protocol, map_of(*place)), place.to_string()),
        Item::Service(ip, protocol, port) => (Set::Services, format!("{ip} . {protocol} . {port}")),
        Item::NodePort(protocol, port) => (Set::NodePorts, format!("{protocol} . {port}")),
        Item::ClusterIp(ip) => (Set::ClusterIps, ip.to_string()),
        Item::LocalEndpoint(ip) if node.bridge_is_filtered => (Set::LocalEndpoints, format!("{ip} . {ip}")),
        Item::LocalEndpoint(ip) => (Set::LocalEndpoints, ip.to_string()),
    })
}

fn data(value: &Value) -> String {
    match value {
        Value::Goto(chain) => format!(" : goto {chain}"),
        Value::Target(address, port) => format!(" : {address} . {port}"),
        Value::Rule(_) | Value::Member => String::new(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Set {
    Services,
    NodePorts,
    Endpoints(Protocol, u32),
    ClusterIps,
    LocalEndpoints,
}

impl Set {
    fn name(self) -> Cow<'static, str> {
        match self {
            Set::Services => "services".into(),
            Set::NodePorts => "node_ports".into(),
            Set::Endpoints(protocol, number) => format!("endpoints_{protocol}_{number}").into(),
            Set::ClusterIps => "cluster_ips".into(),
            Set::LocalEndpoints => "local_endpoints".into(),
        }
    }
}

/// Elements joined into one command per set.
#[derive(Default)]
struct Elements {
    by_set: BTreeMap<Set, String>,
}

impl Elements {
    fn add(&mut self, set: Set, element: &str) {
        let list = self.by_set.entry(set).or_default();
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(element);
    }

    fn commands(&self, verb: &str, table: &str) -> String {
        let mut text = String::new();
        for (set, list) in &self.by_set {
            let _ = writeln!(text, "{verb} element ip {table} {} {{ {list} }}", set.name());
        }
        text
    }
}

#[cfg(test)]
mod tests;

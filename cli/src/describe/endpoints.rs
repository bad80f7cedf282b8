use super::Related;
use super::text::Text;
use crate::cluster::Object;
use crate::failure::Failure;
use crate::tables::or_none;
use gantry_proto::core::v1::{EndpointAddress, Endpoints};
use std::time::SystemTime;

pub fn describe(object: &Object, _: &Related, _: SystemTime, text: &mut Text) -> Result<(), Failure> {
    let endpoints: Endpoints = object.decode()?;
    text.head(&object.metadata);
    text.line(0, format_args!("Subsets:"));
    for subset in &endpoints.subsets {
        text.line(1, format_args!("Addresses:\t{}", ips(&subset.addresses)));
        text.line(
            1,
            format_args!("NotReadyAddresses:\t{}", ips(&subset.not_ready_addresses)),
        );
        if !subset.ports.is_empty() {
            text.line(1, format_args!("Ports:"));
            text.line(2, format_args!("Name\tPort\tProtocol"));
            text.line(2, format_args!("----\t----\t--------"));
            for port in &subset.ports {
                let name = if port.name.is_empty() {
                    "<unset>"
                } else {
                    &port.name
                };
                text.line(2, format_args!("{name}\t{}\t{}", port.port, port.protocol));
            }
        }
        text.line(0, format_args!(""));
    }
    Ok(())
}

fn ips(addresses: &[EndpointAddress]) -> String {
    let ips: Vec<&str> = addresses.iter().map(|address| address.ip.as_str()).collect();
    or_none(&ips.join(","))
}

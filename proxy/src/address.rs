//! The DNS address on `lo`.

use anyhow::Context as _;
use futures::TryStreamExt as _;
use rtnetlink::{AddressMessageBuilder, Handle, LinkUnspec};
use std::net::Ipv4Addr;

const PREFIX_LENGTH: u8 = 32;

/// Adds the address, unless it is there, and sees that `lo` is up.
pub async fn add(address: Ipv4Addr) -> anyhow::Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection().context("opening netlink")?;
    tokio::spawn(connection);
    let index = loopback(&handle).await?;
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(up).execute().await.context("setting lo up")?;
    match handle
        .address()
        .add(index, address.into(), PREFIX_LENGTH)
        .execute()
        .await
    {
        Err(error) if is(&error, nix::libc::EEXIST) => Ok(()),
        outcome => outcome.with_context(|| format!("adding {address} to lo")),
    }
}

/// Removes the address, if it is there.
pub async fn remove(address: Ipv4Addr) -> anyhow::Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection().context("opening netlink")?;
    tokio::spawn(connection);
    let index = loopback(&handle).await?;
    let message = AddressMessageBuilder::<Ipv4Addr>::new()
        .index(index)
        .address(address, PREFIX_LENGTH)
        .build();
    match handle.address().del(message).execute().await {
        Err(error) if is(&error, nix::libc::EADDRNOTAVAIL) => Ok(()),
        outcome => outcome.with_context(|| format!("removing {address} from lo")),
    }
}

async fn loopback(handle: &Handle) -> anyhow::Result<u32> {
    let mut links = handle.link().get().match_name("lo".to_owned()).execute();
    let link = links
        .try_next()
        .await
        .context("looking for lo")?
        .context("there is no lo")?;
    Ok(link.header.index)
}

fn is(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -errno)
}

//! What is printed.

use anyhow::Result;
use serde_json::json;

use super::case::Row;
use super::live::Wire;

/// What was measured, before it is.
pub(super) fn preface(rounds: usize, packets: u32, frames: u32, cpu: usize) {
    println!(
        "{rounds} rounds of {packets} packets a row (nat-syn4: 131072) and {frames} frames on the wire, on CPU {cpu}; the quietest round counts.\n\
         ACL: one list of 100 prefixes in each family behind LPM. Frames of 60 (IPv4) and 80 bytes (IPv6), in by one\n\
         interface and out of it again. Each service has 3 backends; NAT flows share 2 source-NAT addresses of 60000 ports,\n\
         used once for each backend. NAT flows are established; nat-syn4 begins a flow with every packet, in a table that\n\
         is emptied before each round, unmeasured. net is less the floor: an empty program behind the same wrapper.\n"
    );
}

/// For people.
pub(super) fn table(rows: &[Row], wire: &[Wire]) {
    println!("{:<22} {:>6} {:>7} {:>6} {:>6} {:>6}", "", "ns", "median", "floor", "net", "aim");
    for row in rows {
        let aim = row.aim.map_or_else(String::new, |aim| format!("{aim}"));
        let (ns, median, floor, net) = (row.ns(), row.median(), row.floor(), row.net());
        println!("{:<22} {ns:>6} {median:>7} {floor:>6} {net:>6} {aim:>6}", row.name);
    }
    println!("\n{:<22} {:>6} {:>7} {:>6}", "", "Mpps", "plain", "ratio");
    for row in wire {
        println!("{:<22} {:>6.2} {:>7.2} {:>6.2}", row.name, row.mpps, row.plain_mpps, row.ratio());
    }
    println!(
        "\nplain: a program that counts and drops, or counts and sends back, in the same place and run."
    );
}

/// For programs: one object a line.
pub(super) fn json(rows: &[Row], wire: &[Wire]) -> Result<()> {
    for row in rows {
        let line = json!({
            "name": row.name, "ns": row.ns(), "median_ns": row.median(), "floor_ns": row.floor(),
            "net_ns": row.net(), "aim_net_ns": row.aim,
        });
        println!("{}", serde_json::to_string(&line)?);
    }
    for row in wire {
        let line = json!({
            "name": row.name, "mpps": row.mpps, "plain_mpps": row.plain_mpps, "ratio": row.ratio(),
        });
        println!("{}", serde_json::to_string(&line)?);
    }
    Ok(())
}

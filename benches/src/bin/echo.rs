use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;
fn main() {
    let addr = culex_core::server::echo().unwrap();
    for (n, window) in [(1usize, 1usize), (50, 1), (50, 100)] {
        let mut streams: Vec<_> = (0..n).map(|_| { let s = TcpStream::connect(addr).unwrap(); s.set_nodelay(true).unwrap(); s }).collect();
        let data = vec![7u8; 100 * window];
        let mut back = vec![0u8; 100 * window];
        let mut rates = vec![];
        for _ in 0..7 {
            let rounds = 200_000 / (n * window).min(1000);
            let rounds = (rounds / if n * window == 1 { 4 } else { 1 }).max(50);
            let c0 = cpu();
            let t = Instant::now();
            for _ in 0..rounds {
                for s in &mut streams { s.write_all(&data).unwrap(); }
                for s in &mut streams { s.read_exact(&mut back).unwrap(); }
            }
            let messages = (rounds * n * window) as f64;
            rates.push((messages / t.elapsed().as_secs_f64(), (cpu() - c0) * 1e6 / messages));
        }
        rates.sort_by(|a, b| a.0.total_cmp(&b.0));
        println!("{n} connections, window {window}: median {:.0}/s ({:.0}..{:.0}), {:.2} us CPU per message (client included)", rates[3].0, rates[0].0, rates[6].0, rates[3].1);
    }
}
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(") ").next().unwrap().split(' ').collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}

//! The table as a picture: how many times the other broker each one does, a bar each, on a logarithmic scale.

use std::path::Path;

use culex_benches::Result;
use plotters::prelude::*;

use crate::table::Table;

const WIDTH: u32 = 1000;
/// Height of a bar and of what stands around all of them, in pixels.
const BAR: u32 = 14;
const FRAME: u32 = 90;

/// One bar, or the empty line between two scenarios.
struct Bar<'a> {
    scenario: &'a str,
    broker: &'a str,
    ratio: f64,
}

/// Writes an SVG file.
pub(crate) fn draw(table: &Table, file: &Path) -> Result<()> {
    let mut bars = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for row in table.rows() {
        for (broker, ratio) in table.ratios(row) {
            bars.push(Some(Bar { scenario: &row.scenario.run, broker, ratio }));
            if !names.contains(&broker) {
                names.push(broker);
            }
        }
        bars.push(None);
    }
    bars.reverse();
    let ratios = || bars.iter().flatten().map(|bar| bar.ratio);
    let low = ratios().fold(0.5, f64::min) * 0.8;
    let high = ratios().fold(2.0, f64::max) * 1.6;

    let count = u32::try_from(bars.len())?;
    let root = SVGBackend::new(file, (WIDTH, count * BAR + FRAME)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("deliveries or connections per second, × of mosquitto", ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(330)
        .build_cartesian_2d((low..high).log_scale(), 0.0..f64::from(count))?;
    chart.configure_mesh().disable_y_mesh().disable_y_axis().x_label_formatter(&|x| format!("{x}")).draw()?;
    for (place, bar) in (0_u32..).map(f64::from).zip(&bars) {
        let Some(Bar { scenario, broker, ratio }) = bar else { continue };
        let color = Palette99::pick(names.iter().position(|name| name == broker).unwrap_or_default());
        let corners = [(ratio.min(1.0), place), (ratio.max(1.0), place + 1.0)];
        chart.draw_series([Rectangle::new(corners, color.filled())])?;
        let label = |text: String, at: f64, is_left: bool| {
            let style = ("sans-serif", 11).into_text_style(&root);
            let position = chart.backend_coord(&(at, place + 1.0));
            let shift = if is_left { 5 - position.0 } else { 4 };
            root.draw_text(&text, &style, (position.0 + shift, position.1 + 1))
        };
        label(format!("{scenario} · {broker}"), low, true)?;
        label(format!("{ratio:.2}"), ratio.max(1.0), false)?;
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use culex_benches::scenario::{Goal, Scenario};

    use super::*;
    use crate::measure::Figures;

    #[test]
    fn every_broker_has_a_bar() {
        let mut table = Table::new(&[]);
        let scenario = Scenario { run: "pub-sub -n 50".into(), goal: Goal::default() };
        for (broker, rate) in [("one", 100.0), ("other", 730.0)] {
            table.add(&scenario, broker, Figures { rate, ..Figures::NONE });
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plot.svg");
        draw(&table, &file).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        for wanted in ["pub-sub -n 50 · one", "pub-sub -n 50 · other", "7.30"] {
            assert!(text.contains(wanted), "{wanted} is not in {text}");
        }
    }
}

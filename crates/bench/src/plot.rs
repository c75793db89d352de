//! The plot of a workload: throughput on the left, median and 99th percentile on the right, against connections.

use std::path::Path;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

use crate::results::{Results, Round, Series};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A line: its name, colour and points.
type Line = (String, RGBAColor, Vec<(f64, f64)>);

/// Draws the plot of a workload. There is none if the workload did not run.
pub(crate) fn draw(folder: &Path, workload: &str, results: &Results) -> anyhow::Result<()> {
    let series: Vec<&Series> = results.series.iter().filter(|series| series.workload == workload).collect();
    if series.is_empty() {
        return Ok(());
    }
    let path = folder.join(format!("{workload}.svg"));
    let root = SVGBackend::new(&path, (1100, 420)).into_drawing_area();
    draw_on(&root, workload, &series).map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

fn draw_on(root: &Area<'_>, workload: &str, series: &[&Series]) -> Result<(), Box<dyn std::error::Error>> {
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(550);
    let throughput = lines(series, "", 1.0, |round| round.per_second);
    let mut latencies = lines(series, " p50", 1.0, |round| round.p50);
    latencies.extend(lines(series, " p99", 0.4, |round| round.p99));
    chart(&left, &format!("{workload}: answers a second"), &throughput, 0.0)?;
    chart(&right, &format!("{workload}: milliseconds"), &latencies, 0.01)?;
    root.present()?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "nobody has that many connections")]
fn lines(series: &[&Series], suffix: &str, opacity: f64, figure: fn(&Round) -> f64) -> Vec<Line> {
    let mut names: Vec<&str> = series.iter().map(|series| series.contestant).collect();
    names.dedup();
    names.sort_unstable();
    names.dedup();
    let line = |(place, name): (usize, &&str)| {
        let points = series.iter().filter(|series| series.contestant == *name);
        let points = points.map(|series| (series.connections as f64, series.median(figure))).collect();
        (format!("{name}{suffix}"), Palette99::pick(place).mix(opacity), points)
    };
    names.iter().enumerate().map(line).collect()
}

/// Draws one chart. The axis of connections is logarithmic, since they double from point to point. So is that of
/// latencies, whose extremes would flatten the rest. The axis of throughput begins at zero.
fn chart(
    area: &Area<'_>,
    title: &str,
    lines: &[Line],
    lowest: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    let points = || lines.iter().flat_map(|(_, _, points)| points);
    let most = points().map(|point| point.0).fold(2.0, f64::max);
    let highest = points().map(|point| point.1).fold(lowest, f64::max) * 1.2;
    let mut builder = ChartBuilder::on(area);
    builder.caption(title, ("sans-serif", 18)).margin(12).x_label_area_size(36).y_label_area_size(70);
    let across = (1.0..most).log_scale();
    if lowest > 0.0 {
        finish(builder.build_cartesian_2d(across, (lowest..highest).log_scale())?, lines)
    } else {
        finish(builder.build_cartesian_2d(across, lowest..highest)?, lines)
    }
}

fn finish<'a, Y>(
    mut chart: ChartContext<'a, SVGBackend<'a>, Cartesian2d<LogCoord<f64>, Y>>,
    lines: &[Line],
) -> Result<(), Box<dyn std::error::Error>>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart.configure_mesh().x_desc("connections").draw()?;
    for (name, colour, points) in lines {
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style).point_size(3))?
            .label(name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    Ok(())
}

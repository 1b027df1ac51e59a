//! The report's drawings: lines over days, and bars; made by `plotters`.
//!
//! Invariant: a drawing holds no colour and no address of its own. Colours are variables of the page, so that one
//! drawing is right in light, in dark and on paper; series differ by the shape of their marks as well.

use plotters::coord::Shift;
use plotters::coord::types::{RangedCoordf64, RangedCoordi32};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Error, Result};
use crate::ui;

/// The drawings' width, in the units of their own view box.
const WIDTH: u32 = 480;
const HEIGHT: u32 = 260;
const TEXT: u32 = 14;
/// Marks on a line, at most: more would run into each other.
const MARKS_MAX: usize = 30;
/// Days that an axis shows at least: one day alone would be a point without a scale.
const DAYS_MIN: i32 = 7;
/// Lines that can be told apart.
pub const SERIES_MAX: usize = 6;

// Stand-ins that no drawing would choose by itself, each for a variable of the page.
const INK: RGBColor = RGBColor(1, 2, 1);
const GRID: RGBColor = RGBColor(1, 2, 2);
const LIMIT: RGBColor = RGBColor(1, 2, 3);
const SERIES: [RGBColor; SERIES_MAX] = [
    RGBColor(1, 3, 1),
    RGBColor(1, 3, 2),
    RGBColor(1, 3, 3),
    RGBColor(1, 3, 4),
    RGBColor(1, 3, 5),
    RGBColor(1, 3, 6),
];

/// A drawing without its outermost element.
#[derive(Debug)]
pub struct Drawing {
    /// Elements of SVG.
    pub body: String,
    /// Its height, in the units of its view box.
    pub height: u32,
}

impl Drawing {
    /// Its width.
    pub const WIDTH: u32 = WIDTH;

    /// Draws, then takes the outermost element off and turns the stand-ins into variables.
    fn draw(height: u32, draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> Drawn) -> Result<Self> {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
            draw(&area).map_err(Error::bug)?;
            area.present().map_err(Error::bug)?;
        }
        let body = svg.split_once('>').map_or("", |(_, body)| body);
        let body = body.trim_end().strip_suffix("</svg>").unwrap_or(body);
        Ok(Self { body: colours_by_name(body), height })
    }
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn colours_by_name(body: &str) -> String {
    let mut body = body.to_owned();
    let mut name = |colour: RGBColor, name: &str| {
        let RGBColor(red, green, blue) = colour;
        body = body.replace(&format!("\"#{red:02X}{green:02X}{blue:02X}\""), &format!("\"var(--{name})\""));
    };
    name(INK, "ink");
    name(GRID, "grid");
    name(LIMIT, "limit");
    for (number, colour) in (1..).zip(SERIES) {
        name(colour, &format!("series-{number}"));
    }
    body
}

/// A line over days.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is of.
    pub label: String,
    /// Day (since 1970) and number, by day.
    pub points: Vec<(i32, f64)>,
}

/// What a chart of lines shows.
#[derive(Debug, Default)]
pub struct Lines<'a> {
    /// The lines, at most [`SERIES_MAX`].
    pub lines: &'a [Line],
    /// A line that must not be crossed.
    pub limit: Option<f64>,
    /// Where the first line is likely to go.
    pub forecast: &'a [(i32, f64)],
    /// The highest number of the axis, where it does not follow from the lines.
    pub top: Option<f64>,
}

/// Lines over days.
pub fn lines(chart: &Lines<'_>, number: &dyn Fn(f64) -> String) -> Result<Drawing> {
    Drawing::draw(HEIGHT, |area| {
        let points = || chart.lines.iter().flat_map(|line| &line.points).chain(chart.forecast);
        let first = points().map(|point| point.0).min().unwrap_or_default();
        let last = points().map(|point| point.0).max().unwrap_or_default();
        let first = first.min(last.saturating_sub(DAYS_MIN));
        let highest = points().map(|point| point.1).fold(0.0, f64::max);
        let top = chart.top.unwrap_or(if highest > 0.0 { highest * 1.1 } else { 1.0 });
        let mut axes = ChartBuilder::on(area)
            .margin(8)
            .margin_top(14)
            .margin_right(22)
            .x_label_area_size(28)
            .y_label_area_size(62)
            .build_cartesian_2d(first..last, 0.0..top)?;
        axes.configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(("sans-serif", TEXT).into_font().color(&INK))
            .x_labels(5)
            .y_labels(5)
            .x_label_formatter(&|day| date(*day))
            .y_label_formatter(&|value| number(*value))
            .draw()?;
        if let Some(limit) = chart.limit {
            let ends = [(first, limit), (last, limit)];
            axes.draw_series(DashedLineSeries::new(ends, 8, 5, LIMIT.stroke_width(3)))?;
        }
        for (index, line) in chart.lines.iter().take(SERIES_MAX).enumerate() {
            draw_line(&mut axes, index, &line.points)?;
        }
        let forecast = chart.forecast.iter().copied();
        axes.draw_series(DashedLineSeries::new(forecast, 2, 5, SERIES[0].stroke_width(2)))?;
        Ok(())
    })
}

type Axes<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordi32, RangedCoordf64>>;

fn draw_line(axes: &mut Axes<'_, '_>, index: usize, points: &[(i32, f64)]) -> Drawn {
    let colour = SERIES[index];
    axes.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
    let every = points.len().div_ceil(MARKS_MAX).max(1);
    // The last point always has its mark.
    let marks = points.iter().copied().rev().step_by(every);
    let square =
        |style: ShapeStyle| move |at| EmptyElement::at(at) + Rectangle::new([(-4, -4), (4, 4)], style);
    match index {
        0 => axes.draw_series(marks.map(|at| Circle::new(at, 4, colour.filled())))?,
        1 => axes.draw_series(marks.map(|at| TriangleMarker::new(at, 6, colour.filled())))?,
        2 => axes.draw_series(marks.map(|at| Cross::new(at, 4, colour.stroke_width(2))))?,
        3 => axes.draw_series(marks.map(square(colour.filled())))?,
        4 => axes.draw_series(marks.map(|at| Circle::new(at, 5, colour.stroke_width(2))))?,
        _ => axes.draw_series(marks.map(square(colour.stroke_width(2))))?,
    };
    Ok(())
}

/// The mark of a line, for its legend.
pub fn mark(index: usize) -> &'static str {
    const MARKS: [&str; SERIES_MAX] = [
        r#"<circle cx="8" cy="8" r="5" fill="var(--series-1)"/>"#,
        r#"<polygon points="8,2 14,13 2,13" fill="var(--series-2)"/>"#,
        r#"<path d="M3,3L13,13M13,3L3,13" stroke="var(--series-3)" stroke-width="3"/>"#,
        r#"<rect x="3" y="3" width="10" height="10" fill="var(--series-4)"/>"#,
        r#"<circle cx="8" cy="8" r="5" fill="none" stroke="var(--series-5)" stroke-width="2.5"/>"#,
        r#"<rect x="3" y="3" width="10" height="10" fill="none" stroke="var(--series-6)" stroke-width="2.5"/>"#,
    ];
    MARKS[index.min(SERIES_MAX - 1)]
}

/// A bar with its words above it.
#[derive(Debug)]
pub struct Bar {
    /// What it is of.
    pub label: String,
    /// How long it is.
    pub value: f64,
    /// The same in words.
    pub value_text: String,
}

/// Bars, one below the other.
pub fn bars(bars: &[Bar], series: usize) -> Result<Drawing> {
    const STEP: u32 = 42;
    const LABEL_CHARACTERS: usize = 36;
    const LEFT: i32 = 2;
    let height = STEP * u32::try_from(bars.len()).unwrap_or(1).max(1);
    let longest = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    Drawing::draw(height, |area| {
        let words = ("sans-serif", TEXT).into_font().color(&INK);
        let at_right = words.pos(Pos::new(HPos::Right, VPos::Top));
        let right = i32::try_from(WIDTH)? - 2;
        for (index, bar) in bars.iter().enumerate() {
            let top = i32::try_from(index)? * i32::try_from(STEP)?;
            let width = (bar.value / longest * f64::from(right - LEFT)).max(2.0) as i32;
            area.draw(&Text::new(clipped(&bar.label, LABEL_CHARACTERS), (LEFT, top + 2), words.clone()))?;
            area.draw(&Text::new(bar.value_text.clone(), (right, top + 2), at_right.clone()))?;
            let colour = SERIES[series.min(SERIES_MAX - 1)];
            area.draw(&Rectangle::new([(LEFT, top + 22), (LEFT + width, top + 34)], colour.filled()))?;
        }
        Ok(())
    })
}

/// A text of at most so many characters, none of which moves anything.
fn clipped(text: &str, most: usize) -> String {
    let text = ui::escape_all(text);
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most - 1).chain(['\u{2026}']).collect()
}

/// A day for an axis.
fn date(day: i32) -> String {
    moment(day).map_or_else(String::new, |at| at.strftime("%b %-d").to_string())
}

/// The beginning of a day.
pub fn moment(day: i32) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_second(i64::from(day) * 86_400).ok()
}

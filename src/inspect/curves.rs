//! Several curves in one picture, such as one for each of some models.

use std::ops::Range;

use plotters::prelude::*;

use crate::run::plot::{Area, Drawn, FONT, GRID, INK, PlotError, svg};

/// How an axis is divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    #[default]
    Linear,
    /// In powers of two.
    Doubling,
    /// In powers of ten.
    Decades,
}

/// One curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// Drawn dashed and without dots: something to compare the others with.
    pub reference: bool,
}

/// Curves over one pair of axes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    pub x_scale: Scale,
    pub y_scale: Scale,
    pub curves: Vec<Curve>,
}

/// Colours that colour-blind readers tell apart (Okabe & Ito 2008), as in `loss.svg`.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 125, 90),
    RGBColor(204, 121, 167),
    RGBColor(90, 90, 90),
    RGBColor(230, 159, 0),
];

impl Scale {
    /// The position of a number on the axis; none if it has no logarithm.
    fn place(self, x: f64) -> Option<f64> {
        let place = match self {
            Self::Linear => x,
            Self::Doubling => x.log2(),
            Self::Decades => x.log10(),
        };
        place.is_finite().then_some(place)
    }

    /// What a place on the axis is called; between powers it has no name.
    fn name(self, place: f64) -> String {
        let is_whole = (place - place.round()).abs() < 1e-6;
        match self {
            Self::Linear => format!("{}", (place * 1e6).round() / 1e6),
            Self::Doubling if is_whole => format!("{}", place.exp2().round()),
            Self::Decades if is_whole && place.abs() < 0.5 => "1".into(),
            Self::Decades if is_whole => format!("1e{place:.0}"),
            _ => String::new(),
        }
    }
}

impl Curves {
    /// The picture as SVG. Points outside an axis are left out.
    pub fn to_svg(&self) -> Result<String, PlotError> {
        svg(|area| self.draw(area))
    }

    fn draw<'a>(&self, area: &Area<'a>) -> Drawn<'a> {
        area.fill(&WHITE)?;
        let placed: Vec<_> = self.curves.iter().map(|curve| self.placed(curve)).collect();
        let span = |of: fn(&(f64, f64)) -> f64| span(placed.iter().flatten().map(of));
        let (x, y) = (span(|point| point.0), span(|point| point.1));
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, (FONT, 20).into_font().color(&INK))
            .margin(12)
            .margin_right(24)
            .x_label_area_size(48)
            .y_label_area_size(66)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .x_desc(&self.x_label)
            .y_desc(&self.y_label)
            .x_label_formatter(&|x| self.x_scale.name(*x))
            .y_label_formatter(&|y| self.y_scale.name(*y))
            .label_style((FONT, 14).into_font().color(&INK))
            .axis_desc_style((FONT, 15).into_font().color(&INK))
            .draw()?;
        for (i, (curve, points)) in self.curves.iter().zip(placed).enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let line = points.iter().copied();
            let drawn = if curve.reference {
                chart.draw_series(DashedLineSeries::new(line, 6, 5, INK.stroke_width(1)))?
            } else {
                chart.draw_series(line.clone().map(|point| Circle::new(point, 3, colour.filled())))?;
                chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            };
            let style = if curve.reference { INK.stroke_width(1) } else { colour.stroke_width(3) };
            drawn.label(&curve.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::MiddleMiddle)
            .margin(14)
            .legend_area_size(30)
            .background_style(WHITE.mix(0.85))
            .border_style(GRID)
            .label_font((FONT, 15).into_font().color(&INK))
            .draw()?;
        area.present()
    }

    fn placed(&self, curve: &Curve) -> Vec<(f64, f64)> {
        let place = |&(x, y): &(f64, f64)| self.x_scale.place(x).zip(self.y_scale.place(y));
        curve.points.iter().filter_map(place).collect()
    }
}

/// What the numbers span, with some room on both sides.
fn span(numbers: impl Iterator<Item = f64>) -> Range<f64> {
    let (least, most) = numbers.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    if least > most {
        return 0.0..1.0;
    }
    let room = ((most - least) * 0.04).max(1e-3);
    least - room..most + room
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curves(points: Vec<(f64, f64)>) -> Curves {
        let curve = Curve { name: "LSTM".into(), points, reference: false };
        let mut chance =
            Curve { name: "chance".into(), points: vec![(1.0, 0.1), (64.0, 0.1)], reference: true };
        chance.points.push((0.0, f64::NAN));
        Curves {
            title: "Recall".into(),
            x_label: "distance".into(),
            y_label: "share".into(),
            x_scale: Scale::Doubling,
            y_scale: Scale::Decades,
            curves: vec![curve, chance],
        }
    }

    #[test]
    fn a_picture_has_its_labels_and_powers() {
        let svg = curves(vec![(1.0, 1.0), (8.0, 0.1), (64.0, 0.001)]).to_svg().unwrap();
        for label in ["Recall", "distance", "share", "LSTM", "chance", "64", "1e-3"] {
            assert!(svg.contains(label), "{label}");
        }
        assert_eq!(svg.matches("<circle").count(), 3);
    }

    #[test]
    fn nothing_can_be_drawn() {
        assert!(Curves::default().to_svg().unwrap().contains("</svg>"));
        assert!(curves(vec![(0.0, 1.0), (1.0, f64::NAN)]).to_svg().unwrap().contains("</svg>"));
    }

    #[test]
    fn only_powers_have_names() {
        assert_eq!([0.0, 5.0, 2.5].map(|x| Scale::Doubling.name(x)), ["1", "32", ""]);
        assert_eq!([0.0, -3.0, 0.5].map(|x| Scale::Decades.name(x)), ["1", "1e-3", ""]);
        assert_eq!([0.1 + 0.2, 4.0].map(|x| Scale::Linear.name(x)), ["0.3", "4"]);
    }
}

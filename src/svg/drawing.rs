//! A drawing (SVG 1.1), element by element.

use std::fmt::{Arguments, Write};

use super::measure;

pub const INK: &str = "#1f2933";
pub const FAINT: &str = "#7b8794";

/// A place, to the right of and below the upper left corner.
pub type Point = (f64, f64);

/// What is drawn so far.
#[derive(Default)]
pub struct Drawing {
    body: String,
}

/// How a text is written: from its place on, unless it is anchored otherwise.
#[derive(Clone, Copy)]
pub struct Style {
    size: f64,
    ink: &'static str,
    bold: bool,
    anchor: &'static str,
}

impl Style {
    pub const fn new(size: f64, ink: &'static str) -> Self {
        Self { size, ink, bold: false, anchor: "start" }
    }

    pub const fn bold(self, bold: bool) -> Self {
        Self { bold, ..self }
    }

    /// `start`, `middle` or `end` of the text is at its place.
    pub const fn anchored(self, anchor: &'static str) -> Self {
        Self { anchor, ..self }
    }
}

impl Drawing {
    /// Adds an element as it is written.
    pub fn element(&mut self, element: Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.body, "{element}");
    }

    pub fn text(&mut self, (x, y): Point, style: Style, content: &str) {
        let Style { size, ink, bold, anchor } = style;
        let weight = if bold { 600 } else { 400 };
        let content = escaped(content);
        self.element(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" font-size="{size}" font-weight="{weight}" fill="{ink}" text-anchor="{anchor}">{content}</text>"#
        ));
    }

    /// A text that takes no more room than this: the rest of it is seen where somebody points at it.
    pub fn fitted(&mut self, at: Point, style: Style, content: &str, room: f64) {
        let fitted = measure::fitted(content, style.size, style.bold, room);
        if fitted == content {
            return self.text(at, style, content);
        }
        self.element(format_args!("<g><title>{}</title>", escaped(content)));
        self.text(at, style, &fitted);
        self.element(format_args!("</g>"));
    }

    pub fn line(&mut self, (x1, y1): Point, (x2, y2): Point, colour: &str, width: f64) {
        self.element(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="{width}"/>"#
        ));
    }

    /// A rectangle from its upper left corner on. Its title appears where somebody points at it.
    pub fn rect(&mut self, (x, y): Point, (width, height): (f64, f64), colour: &str, title: &str) {
        let title =
            if title.is_empty() { String::new() } else { format!("<title>{}</title>", escaped(title)) };
        self.element(format_args!(
            r#"<rect x="{x:.2}" y="{y:.1}" width="{width:.2}" height="{height:.1}" fill="{colour}">{title}</rect>"#
        ));
    }

    /// The whole file.
    pub fn finish(self, width: f64, height: f64) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height:.0}\" viewBox=\"0 0 {width} \
             {height:.0}\" font-family=\"Inter, 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}</svg>\n",
            self.body
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

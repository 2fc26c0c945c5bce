//! Owns the lines that are printed. Never measures.

use std::time::Duration;

/// Prints one figure beside its baseline. The ratio is value to baseline.
pub(crate) fn beside(name: &str, value: f64, unit: &str, baseline: f64) {
    println!("bench: {name} {}", ratio(value, unit, baseline));
}

/// Prints several figures of one thing.
pub(crate) fn parts(name: &str, parts: &[(&str, String)]) {
    let parts: Vec<String> = parts
        .iter()
        .map(|(what, figure)| format!("{what} {figure}"))
        .collect();
    println!("bench: {name} {}", parts.join("; "));
}

/// One figure beside its baseline.
pub(crate) fn ratio(value: f64, unit: &str, baseline: f64) -> String {
    format!(
        "{} {unit}, baseline {}, ratio {}",
        short(value),
        short(baseline),
        short(value / baseline)
    )
}

/// Prints one figure that has no baseline.
pub(crate) fn alone(name: &str, text: &str) {
    println!("bench: {name} {text}");
}

/// Prints what stands behind a figure.
pub(crate) fn behind(name: &str, text: &str) {
    println!("bench:   {name}: {text}");
}

/// Three significant digits, or so.
pub(crate) fn short(value: f64) -> String {
    match value {
        v if v < 0.1 => format!("{v:.4}"),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Returns the middle value.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

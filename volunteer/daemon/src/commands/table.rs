//! Columns for people.

use mesh_shell::{escape_line, outln};

/// Prints `rows` under `head`, each column as wide as its widest cell. The last one may be any length.
pub fn print<const N: usize>(head: [&str; N], rows: &[[String; N]]) {
    let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(|it| escape_line(it))).collect();
    let head = head.map(str::to_owned);
    let all = || std::iter::once(&head).chain(&rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in all() {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  "));
        outln!("{}", cells.collect::<String>().trim_end());
    }
}

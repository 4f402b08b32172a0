//! Tables as text: Markdown with aligned columns, and CSV.

/// A table with a header.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|name| (*name).to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Markdown that is readable as it stands.
    pub(crate) fn markdown(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let escaped = |cell: &String| cell.replace('|', "\\|").replace('\n', " ");
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(escaped).collect()).collect();
        let width =
            |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:width$} |"));
            format!("|{}\n", cells.collect::<String>())
        };
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        let mut text = String::new();
        for (i, row) in rows.iter().enumerate() {
            text += &line(row);
            if i == 0 {
                text += &line(&rule);
            }
        }
        text
    }

    /// RFC 4180.
    pub(crate) fn csv(&self) -> String {
        let quoted = |cell: &String| match cell.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        };
        let line = |row: &Vec<String>| row.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n";
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_csv_is_quoted() {
        let mut table = Table::new(&["a", "metric"]);
        table.row(vec!["long, \"x\"".to_owned(), "1".to_owned()]);
        assert_eq!(table.markdown(), "| a         | metric |\n| --------- | ------ |\n| long, \"x\" | 1      |\n");
        assert_eq!(table.csv(), "a,metric\n\"long, \"\"x\"\"\",1\n");
    }
}

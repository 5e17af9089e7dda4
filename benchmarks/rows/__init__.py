"""The rows: one module for each subject, with its ROWS."""

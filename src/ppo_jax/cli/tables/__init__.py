"""What commands print on a terminal, one module a family of commands. Reads plain data; fits 80 columns."""

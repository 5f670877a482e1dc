"""Several devices and processes, and what a CPU offers."""

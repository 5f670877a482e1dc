"""Many runs: grids of settings and seeds, and tuning."""

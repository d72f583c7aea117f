"""Rankings -> figures: measures, significance, reports, plots, and checks for silent failures."""

"""Real flights as cart feeds, and the sweep their bill is checked against."""

"""AiiDA data types."""

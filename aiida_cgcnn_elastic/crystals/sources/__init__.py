"""Where crystals come from, one module a source."""

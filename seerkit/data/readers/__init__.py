"""Readers of other formats: each module opens one as a `seerkit.data.source.Source`."""

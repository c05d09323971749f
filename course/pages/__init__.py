"""Pages of the lessons that need no network: templates, texts, and what draws them."""

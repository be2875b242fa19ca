"""How training runs went: their metrics over steps on one HTML page."""

"""What Prewrite's speed claims rest on: `make bench` measures, `RESULTS.md` keeps the figures."""

"""What every HTML report is made with: the page around it, its style and script, its plots."""

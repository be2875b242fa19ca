"""The paper's tables with what is measured here beside what it printed."""
